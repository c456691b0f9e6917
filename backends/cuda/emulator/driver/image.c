/* What the driver must know of a cubin (an ELF file of the machine 190) or of PTX: for which GPU, which functions. */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulated.h"

enum { CUDA_MACHINE = 190, PARAMETER_BYTES = 0x19, SIZED = 4, POINTER = 8 };

struct emulated_module {
  const char* ptx; /* or null, and: */
  const unsigned char* elf;
};

static const Elf64_Shdr* section(const unsigned char* elf, const char* prefix, const char* name) {
  const Elf64_Ehdr* header = (const Elf64_Ehdr*)elf;
  const Elf64_Shdr* sections = (const Elf64_Shdr*)(elf + header->e_shoff);
  const char* names = (const char*)elf + sections[header->e_shstrndx].sh_offset;
  for (int i = 0; i < header->e_shnum; ++i) {
    const char* found = names + sections[i].sh_name;
    if (strncmp(found, prefix, strlen(prefix)) == 0 && strcmp(found + strlen(prefix), name) == 0) return &sections[i];
  }
  return NULL;
}

/* The compute capability stands in other bits of the flags since the ABI that CUDA 13 writes. */
static int capability_of(const unsigned char* elf) {
  const Elf64_Ehdr* header = (const Elf64_Ehdr*)elf;
  return header->e_ident[EI_ABIVERSION] >= 8 ? (int)(header->e_flags >> 8 & 0xff) : (int)(header->e_flags & 0xff);
}

static bool is_cubin(const unsigned char* data) {
  return memcmp(data, ELFMAG, SELFMAG) == 0 && ((const Elf64_Ehdr*)data)->e_machine == CUDA_MACHINE;
}

/* What CUDA 13 made, whose cubins have another ABI and whose PTX is of version 9, no older driver takes. */
static bool is_of_cuda_13(const void* data, bool is_ptx) {
  int version = 0;
  const char* stated = is_ptx ? strstr(data, ".version ") : NULL;
  if (stated) sscanf(stated, ".version %d", &version);
  return is_ptx ? version >= 9 : ((const Elf64_Ehdr*)data)->e_ident[EI_ABIVERSION] >= 8;
}

emulated_module* image_load(const void* data, int sm, int cuda, int* code) {
  const unsigned char* bytes = data;
  int made_for = 0;
  const char* target = is_cubin(bytes) ? NULL : strstr(data, "\n.target sm_");
  if (target) sscanf(target, "\n.target sm_%d", &made_for);
  *code = INVALID_IMAGE;
  if (!target && !is_cubin(bytes)) return NULL;
  *code = target ? UNSUPPORTED_PTX : INVALID_IMAGE;
  if (cuda < 13000 && is_of_cuda_13(data, target != NULL)) return NULL;
  if (!target) made_for = capability_of(bytes);
  *code = NO_BINARY_FOR_GPU;
  if (target ? made_for > sm : made_for != sm && !(made_for / 10 == sm / 10 && made_for < sm && sm != 87)) return NULL;
  emulated_module* module = calloc(1, sizeof *module);
  *code = module ? SUCCESS : OUT_OF_MEMORY;
  if (module) *module = (emulated_module){target ? data : NULL, bytes};
  return module;
}

void image_free(emulated_module* module) { free(module); }

static int count_ptx(const char* ptx, const char* function) {
  char entry[512];
  snprintf(entry, sizeof entry, ".entry %s(", function);
  const char* start = strstr(ptx, entry);
  if (!start) return -1;
  const char* end = strchr(start + strlen(entry), ')');
  int count = 0;
  for (const char* at = strstr(start, ".param"); at && at < end; at = strstr(at + 1, ".param")) ++count;
  return count * POINTER;
}

int image_parameters(const emulated_module* module, const char* function) {
  if (module->ptx) return count_ptx(module->ptx, function);
  const Elf64_Shdr* info = section(module->elf, ".nv.info.", function);
  if (!section(module->elf, ".text.", function) || !info) return -1;
  const unsigned char *at = module->elf + info->sh_offset, *end = at + info->sh_size;
  while (at + 4 <= end) {
    const int value = at[2] | at[3] << 8;
    if (at[1] == PARAMETER_BYTES) return value;
    at += 4 + (at[0] == SIZED ? value : 0);
  }
  return 0;
}

int image_registers(const emulated_module* module, const char* function) {
  if (module->ptx) return 0;
  const Elf64_Shdr* text = section(module->elf, ".text.", function);
  return text ? (int)(text->sh_info >> 24) : 0;
}
