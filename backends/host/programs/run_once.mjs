// node run_once.mjs FOLDER INPUTS OUTPUTS THREADS: run an artifact's model once, always on one thread.
//
// INPUTS holds the model's inputs one after the other as dense row-major buffers; OUTPUTS gets the outputs alike.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, given, written] = process.argv.slice(2);
const file = (name) => fs.readFileSync(path.join(folder, name));
try {
  const { Model } = await import(pathToFileURL(path.resolve(folder, "model.mjs")));
  const model = await Model.load(file("model.wasm"), new Uint8Array(file("weights.bin")));
  const content = new Uint8Array(fs.readFileSync(given));
  const inputs = {};
  let position = 0;
  for (const tensor of model.inputs) {
    inputs[tensor.name] = content.slice(position, position + tensor.bytes);
    position += tensor.bytes;
  }
  const outputs = model.run(inputs);
  fs.writeFileSync(written, Buffer.concat(model.outputs.map(({ name }) => Buffer.from(outputs[name].buffer))));
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exit(1);
}
