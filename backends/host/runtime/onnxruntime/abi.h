/* What a custom operator needs of ONNX Runtime's C interface, as of its version 16 (ONNX Runtime 1.16). Functions and
 * callbacks are only ever appended to these structures, so later releases hand out the same ones for that version. */
#ifndef OPTC_ONNXRUNTIME_ABI_H
#define OPTC_ONNXRUNTIME_ABI_H

#include <stddef.h>
#include <stdint.h>

#define ORT_VERSION 16
#define ORT_FAIL 1
#define ORT_INVALID_ARGUMENT 2

typedef struct OrtStatus OrtStatus;
typedef struct OrtValue OrtValue;
typedef struct OrtShape OrtShape;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtCustomOp OrtCustomOp;
typedef void (*OrtUnused)(void);

typedef struct {
  OrtStatus* (*CreateStatus)(int code, const char* message);
  OrtUnused unused1[25];
  OrtStatus* (*CreateCustomOpDomain)(const char* name, OrtCustomOpDomain** out);
  OrtStatus* (*CustomOpDomain_Add)(OrtCustomOpDomain* domain, const OrtCustomOp* operator_);
  OrtStatus* (*AddCustomOpDomain)(OrtSessionOptions* options, OrtCustomOpDomain* domain);
  OrtUnused unused2[22];
  OrtStatus* (*GetTensorMutableData)(OrtValue* value, void** out);
  OrtUnused unused3[9];
  OrtStatus* (*GetDimensionsCount)(const OrtShape* shape, size_t* out);
  OrtStatus* (*GetDimensions)(const OrtShape* shape, int64_t* out, size_t count);
  OrtUnused unused4[2];
  OrtStatus* (*GetTensorTypeAndShape)(const OrtValue* value, OrtShape** out);
  OrtUnused unused5[24];
  OrtStatus* (*KernelContext_GetInput)(const OrtKernelContext* context, size_t index, const OrtValue** out);
  OrtStatus* (*KernelContext_GetOutput)(
      OrtKernelContext* context, size_t index, const int64_t* shape, size_t rank, OrtValue** out);
  OrtUnused unused6[7];
  void (*ReleaseTensorTypeAndShapeInfo)(OrtShape* shape);
} OrtApi;

typedef struct {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)(void);
} OrtApiBase;

struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int (*GetInputType)(const OrtCustomOp*, size_t index);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int (*GetOutputType)(const OrtCustomOp*, size_t index);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void* kernel, OrtKernelContext*);
  void (*KernelDestroy)(void* kernel);
  int (*GetInputCharacteristic)(const OrtCustomOp*, size_t index);
  int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t index);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t index);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
};

_Static_assert(offsetof(OrtApi, CreateCustomOpDomain) == 26 * sizeof(OrtUnused), "function 26");
_Static_assert(offsetof(OrtApi, GetTensorMutableData) == 51 * sizeof(OrtUnused), "function 51");
_Static_assert(offsetof(OrtApi, GetDimensionsCount) == 61 * sizeof(OrtUnused), "function 61");
_Static_assert(offsetof(OrtApi, GetTensorTypeAndShape) == 65 * sizeof(OrtUnused), "function 65");
_Static_assert(offsetof(OrtApi, KernelContext_GetInput) == 90 * sizeof(OrtUnused), "function 90");
_Static_assert(offsetof(OrtApi, ReleaseTensorTypeAndShapeInfo) == 99 * sizeof(OrtUnused), "function 99");
#endif
