/* LD_PRELOAD: destroys every vector register at the descriptor calls of one library, in any program that has it loaded at its start.
 *
 * DESTROY_PLAN names a file: the library's file name, then hexadecimal distances from its load address: of its descriptors, a colon, and of
 * what lies behind the calls that are spared. At its end the program prints "destroyed at N calls" on stderr.
 */
#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "destroy.h"

#define HIDDEN __attribute__((visibility("hidden")))
enum { CODE = 16 << 20 };
HIDDEN void *original_resolver;
HIDDEN uint64_t base, hits;
HIDDEN unsigned char spared[CODE], garbage[64];
HIDDEN int wide; /* 0: xmm, 1: ymm, 2: zmm and k */
HIDDEN void destroying_resolver(void);

__asm__(
    ".hidden destroying_resolver\n"
    ".globl destroying_resolver\n"
    "destroying_resolver:\n"
    "  push %rcx\n"
    "  push %rdx\n"
    "  mov 16(%rsp), %rcx\n"
    "  sub base(%rip), %rcx\n"
    "  lea spared(%rip), %rdx\n"
    "  cmpb $0, (%rdx, %rcx)\n"
    "  jne 9f\n"
    "  incq hits(%rip)\n"
    DESTROY_VECTORS
    "9: pop %rdx\n"
    "  pop %rcx\n"
    "  jmp *original_resolver(%rip)\n");

static char library[256];

static int found(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size, (void)data;
    const char *name = strrchr(info->dlpi_name, '/');
    if (strcmp(name ? name + 1 : info->dlpi_name, library)) return 0;
    base = info->dlpi_addr;
    return 1;
}

__attribute__((constructor)) static void begin(void) {
    FILE *plan = fopen(getenv("DESTROY_PLAN"), "r");
    if (!plan || fscanf(plan, "%255s", library) != 1 || !dl_iterate_phdr(found, NULL)) return;
    for (int n = 0; n < 64; n++) garbage[n] = 0x35 + 11 * n;
    wide = __builtin_cpu_supports("avx512bw") ? 2 : __builtin_cpu_supports("avx2");
    unsigned long at;
    while (fscanf(plan, " %lx", &at) == 1) {
        void **slot = (void **)(base + at);
        if (mprotect((void *)((uint64_t)slot & -4096ull), 8192, PROT_READ | PROT_WRITE)) _exit(99);
        original_resolver = *slot;
        *slot = (void *)destroying_resolver;
    }
    if (fscanf(plan, " :") == EOF) return;
    while (fscanf(plan, " %lx", &at) == 1) spared[at % CODE] = 1;
    fclose(plan);
}

__attribute__((destructor)) static void end(void) { fprintf(stderr, "destroyed at %llu calls\n", (unsigned long long)hits); }
