// Run an optc model in a browser or in Node.
//
//   import { Model } from "./model.mjs";
//   const model = await Model.load(await (await fetch("model.wasm")).arrayBuffer(),
//                                  await (await fetch("weights.bin")).arrayBuffer());
//   const { logits } = model.run({ pixels: new Float32Array(3 * 32 * 32) });

const ALIGNMENT = 64;
const ENOSYS = 52;
const ARRAYS = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, bool: Uint8Array,
  int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array,
  int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
};

export class Model {
  /** Compile and start a model. `wasm` and `weights` are ArrayBuffers or typed arrays. */
  static async load(wasm, weights) {
    const module = await WebAssembly.compile(wasm);
    let memory;
    const clock_time_get = (id, precision, out) => {
      new DataView(memory.buffer).setBigUint64(out, BigInt(Math.round(performance.now() * 1e6)), true);
      return 0;
    };
    const imports = {};
    for (const { module: space, name } of WebAssembly.Module.imports(module))
      (imports[space] ??= {})[name] = name === "clock_time_get" ? clock_time_get : () => ENOSYS;
    const { exports } = await WebAssembly.instantiate(module, imports);
    memory = exports.memory;
    exports._initialize?.();
    return new Model(exports, new Uint8Array(weights.buffer ?? weights));
  }

  constructor(exports, weights) {
    this.c = exports;
    const held = this.#reserve(weights.length);
    this.#bytes(held, weights.length).set(weights);
    const handle = this.#reserve(4);
    if (this.c.optc_model_init_weights(handle, held, weights.length, 0))
      throw new Error(this.#text(this.c.optc_model_error(0)));
    this.model = this.#view().getUint32(handle, true);
    this.inputs = this.#tensors(this.c.optc_model_input_count(this.model), this.c.optc_model_input);
    this.outputs = this.#tensors(this.c.optc_model_output_count(this.model), this.c.optc_model_output);
    this.inputList = this.#addresses(this.inputs);
    this.outputList = this.#addresses(this.outputs);
  }

  /** One inference: `inputs` holds a typed array for each input by name; returns new ones for the outputs. */
  run(inputs) {
    for (const tensor of this.inputs) {
      const given = inputs[tensor.name];
      if (!given) throw new Error(`the input '${tensor.name}' is missing`);
      if (given.byteLength !== tensor.bytes)
        throw new Error(`the input '${tensor.name}' has ${given.byteLength} bytes, and the model takes ${tensor.bytes}`);
      this.#bytes(tensor.address, tensor.bytes).set(new Uint8Array(given.buffer, given.byteOffset, given.byteLength));
    }
    if (this.c.optc_model_run(this.model, this.inputList, this.outputList))
      throw new Error(this.#text(this.c.optc_model_error(this.model)));
    return Object.fromEntries(this.outputs.map((tensor) => {
      const copy = this.#bytes(tensor.address, tensor.bytes).slice();
      return [tensor.name, new ARRAYS[tensor.dtype](copy.buffer)];
    }));
  }

  #view() { return new DataView(this.c.memory.buffer); }
  #bytes(address, length) { return new Uint8Array(this.c.memory.buffer, address, length); }

  #reserve(bytes) {
    const address = this.c.aligned_alloc(ALIGNMENT, Math.ceil(Math.max(bytes, 1) / ALIGNMENT) * ALIGNMENT);
    if (!address) throw new Error(`no memory for ${bytes} bytes`);
    return address;
  }

  #text(address) {
    const all = new Uint8Array(this.c.memory.buffer, address);
    return new TextDecoder().decode(all.slice(0, all.indexOf(0)));
  }

  // optc_tensor_info: name, dtype, rank, shape, bytes.
  #tensors(count, describe) {
    return Array.from({ length: count }, (_, index) => {
      const view = this.#view(), info = describe(this.model, index);
      const word = (offset) => view.getUint32(info + offset, true);
      const bytes = Number(view.getBigInt64(info + 16, true));
      const shape = Array.from({ length: word(8) }, (_, axis) => Number(view.getBigInt64(word(12) + 8 * axis, true)));
      return { name: this.#text(word(0)), dtype: this.#text(word(4)), shape, bytes, address: this.#reserve(bytes) };
    });
  }

  #addresses(tensors) {
    const list = this.#reserve(4 * tensors.length);
    tensors.forEach((tensor, index) => this.#view().setUint32(list + 4 * index, tensor.address, true));
    return list;
  }
}
