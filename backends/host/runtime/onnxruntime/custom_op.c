/* The model as one operator of ONNX Runtime: each session that uses it holds a handle of its own.
 *
 * operator.h, which is written for each model, defines OPERATOR and DOMAIN, their names, and the arrays input_types and
 * output_types of ONNX's element types, with a 0 at their ends. optc_model_open takes the weights that the library holds. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "abi.h"
#include "operator.h"
#include "optc_model.h"

#define COUNT(types) (sizeof(types) / sizeof(*(types)) - 1)
#define TRY(call)                       \
  do {                                  \
    OrtStatus* const status = (call);   \
    if (status) return status;          \
  } while (0)

OPTC_API int optc_model_open(optc_model** out, const optc_options* options);
OPTC_API OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base);

typedef struct {
  const OrtApi* api;
  optc_model* model;
  pthread_mutex_t running; /* sessions may be run by several threads, a handle by one at a time */
} kernel;

static OrtStatus* open_kernel(const OrtCustomOp* self, const OrtApi* api, const OrtKernelInfo* info, void** out) {
  (void)self, (void)info;
  kernel* const made = calloc(1, sizeof *made);
  if (!made) return api->CreateStatus(ORT_FAIL, OPERATOR ": no memory for the operator");
  made->api = api;
  if (pthread_mutex_init(&made->running, NULL) != 0) {
    free(made);
    return api->CreateStatus(ORT_FAIL, OPERATOR ": no memory for the operator");
  }
  if (optc_model_open(&made->model, NULL) != OPTC_OK) {
    pthread_mutex_destroy(&made->running);
    free(made);
    return api->CreateStatus(ORT_FAIL, optc_model_error(NULL));
  }
  *out = made;
  return NULL;
}

static void close_kernel(void* self) {
  kernel* const opened = self;
  optc_model_free(opened->model);
  pthread_mutex_destroy(&opened->running);
  free(opened);
}

/* Whether a tensor has the shape that the model was compiled for; a message in `text` where it has another one. */
static OrtStatus* check_shape(const OrtApi* api, const OrtValue* value, const optc_tensor_info* info) {
  OrtShape* shape = NULL;
  TRY(api->GetTensorTypeAndShape(value, &shape));
  int64_t extents[16] = {0};
  size_t rank = 0;
  OrtStatus* failure = api->GetDimensionsCount(shape, &rank);
  if (!failure && rank <= sizeof extents / sizeof *extents) failure = api->GetDimensions(shape, extents, rank);
  api->ReleaseTensorTypeAndShapeInfo(shape);
  if (failure) return failure;
  int fits = rank == (size_t)info->rank;
  for (size_t axis = 0; fits && axis < rank; ++axis) fits = extents[axis] == info->shape[axis];
  if (fits) return NULL;
  char text[256];
  snprintf(text, sizeof text, OPERATOR ": the input '%s' has another shape than the model was compiled for", info->name);
  return api->CreateStatus(ORT_INVALID_ARGUMENT, text);
}

static OrtStatus* compute(void* self, OrtKernelContext* context) {
  kernel* const opened = self;
  const OrtApi* const api = opened->api;
  const void* inputs[COUNT(input_types) + 1] = {0};
  void* outputs[COUNT(output_types) + 1] = {0};
  for (size_t index = 0; index < COUNT(input_types); ++index) {
    const OrtValue* value = NULL;
    void* data = NULL;
    TRY(api->KernelContext_GetInput(context, index, &value));
    TRY(check_shape(api, value, optc_model_input(opened->model, (int32_t)index)));
    TRY(api->GetTensorMutableData((OrtValue*)value, &data));
    inputs[index] = data;
  }
  for (size_t index = 0; index < COUNT(output_types); ++index) {
    const optc_tensor_info* const info = optc_model_output(opened->model, (int32_t)index);
    OrtValue* value = NULL;
    TRY(api->KernelContext_GetOutput(context, index, info->shape, (size_t)info->rank, &value));
    TRY(api->GetTensorMutableData(value, &outputs[index]));
  }
  pthread_mutex_lock(&opened->running);
  const int code = optc_model_run(opened->model, inputs, outputs);
  OrtStatus* const status = code == OPTC_OK ? NULL : api->CreateStatus(ORT_FAIL, optc_model_error(opened->model));
  pthread_mutex_unlock(&opened->running);
  return status;
}

static const char* name_of(const OrtCustomOp* self) { return (void)self, OPERATOR; }
static const char* provider_of(const OrtCustomOp* self) { return (void)self, "CPUExecutionProvider"; }
static int input_type(const OrtCustomOp* self, size_t index) { return (void)self, input_types[index]; }
static size_t input_count(const OrtCustomOp* self) { return (void)self, COUNT(input_types); }
static int output_type(const OrtCustomOp* self, size_t index) { return (void)self, output_types[index]; }
static size_t output_count(const OrtCustomOp* self) { return (void)self, COUNT(output_types); }
static int required(const OrtCustomOp* self, size_t index) { return (void)self, (void)index, 0; }
static int default_memory(const OrtCustomOp* self, size_t index) { return (void)self, (void)index, 0; }
static int one(const OrtCustomOp* self) { return (void)self, 1; }

static const OrtCustomOp definition = {
    .version = ORT_VERSION,
    .GetName = name_of,
    .GetExecutionProviderType = provider_of,
    .GetInputType = input_type,
    .GetInputTypeCount = input_count,
    .GetOutputType = output_type,
    .GetOutputTypeCount = output_count,
    .KernelDestroy = close_kernel,
    .GetInputCharacteristic = required,
    .GetOutputCharacteristic = required,
    .GetInputMemoryType = default_memory,
    .GetVariadicInputMinArity = one,
    .GetVariadicInputHomogeneity = one,
    .GetVariadicOutputMinArity = one,
    .GetVariadicOutputHomogeneity = one,
    .CreateKernelV2 = open_kernel,
    .KernelComputeV2 = compute,
};

/* What SessionOptions.register_custom_ops_library calls. The domain lives as long as the process: sessions refer to it. */
OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
  static OrtCustomOpDomain* domain = NULL;
  const OrtApi* const api = base->GetApi(ORT_VERSION);
  if (!api) return base->GetApi(1)->CreateStatus(ORT_FAIL, OPERATOR ": it needs ONNX Runtime 1.16 or a later one");
  pthread_mutex_lock(&once);
  OrtStatus* status = NULL;
  if (!domain) {
    status = api->CreateCustomOpDomain(DOMAIN, &domain);
    if (!status) status = api->CustomOpDomain_Add(domain, &definition);
  }
  pthread_mutex_unlock(&once);
  return status ? status : api->AddCustomOpDomain(options, domain);
}
