/* A model's library that computes nothing: what remains of a call is the call. See optc_model.h. */
#include <stddef.h>
#include <stdint.h>

static int model;
uint32_t optc_model_abi(void) { return ABI; }
int optc_model_init(void** m, const char* folder, const void* options) { (void)folder, (void)options; *m = &model; return 0; }
int optc_model_init_weights(void** m, void* w, size_t n, const void* o) { (void)w, (void)n, (void)o; *m = &model; return 0; }
void optc_model_free(void* m) { (void)m; }
const char* optc_model_error(const void* m) { (void)m; return ""; }
int32_t optc_model_threads(const void* m) { (void)m; return 1; }
size_t optc_model_workspace_bytes(const void* m) { (void)m; return 0; }
int optc_model_run(void* m, const void* const* in, void* const* out) { (void)m, (void)in, (void)out; return 0; }
void optc_model_set_fallback(void* m, void* f, void* data) { (void)m, (void)f, (void)data; }
void optc_model_profile(void* m, int32_t on) { (void)m, (void)on; }
int32_t optc_model_step_count(const void* m) { (void)m; return 0; }
int optc_model_step(const void* m, int32_t i, void* info) { (void)m, (void)i, (void)info; return 1; }
