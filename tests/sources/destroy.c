/* Destroys every vector register at one descriptor call, and tells which functions of a module then give another result.
 *
 * usage: destroy MODULE SLOT... : SITE...      (hexadecimal offsets from the load address; a site is the address behind its call)
 * The module exports  unsigned run_one(unsigned number, unsigned char *results)  (bytes written, 0 behind the last function).
 * Prints for each site: its offset, how often it ran, the signal or 0, and the numbers of the functions that changed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "destroy.h"

enum { FUNCTIONS = 512, BYTES = 1024 };
typedef unsigned run_one_t(unsigned, unsigned char *);

void *original_resolver;       /* what the loader put into the descriptors */
uint64_t destroyed_site, hits; /* the return address at which registers are destroyed */
unsigned char garbage[64];
int wide; /* 0: xmm, 1: ymm, 2: zmm and k */
void destroying_resolver(void);

__asm__(
    ".globl destroying_resolver\n"
    "destroying_resolver:\n"
    "  push %rcx\n"
    "  mov 8(%rsp), %rcx\n"
    "  cmp destroyed_site(%rip), %rcx\n"
    "  jne 9f\n"
    "  incq hits(%rip)\n"
    DESTROY_VECTORS
    "9: pop %rcx\n"
    "  jmp *original_resolver(%rip)\n");

static unsigned char expected[FUNCTIONS][BYTES], found[FUNCTIONS][BYTES];
static unsigned lengths[FUNCTIONS];

static unsigned run_all(run_one_t *run_one, unsigned char results[][BYTES], unsigned *sizes) {
    unsigned n = 0;
    for (; n < FUNCTIONS; n++) {
        memset(results[n], 0, BYTES);
        unsigned size = run_one(n, results[n]);
        if (!size || size > BYTES) break;
        if (sizes) sizes[n] = size;
    }
    return n;
}

static void try_site(run_one_t *run_one, uint64_t base, uint64_t site, unsigned count) {
    int ends[2];
    if (pipe(ends)) exit(2);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        alarm(5);
        destroyed_site = base + site;
        for (unsigned n = 0; n < count; n++) {
            /* A function that writes less or crashes leaves the marker that stands for a change. */
            unsigned size = run_one(n, found[n]);
            unsigned char changed = size != lengths[n] || memcmp(found[n], expected[n], size);
            if (write(ends[1], &changed, 1) != 1) _exit(2);
        }
        if (write(ends[1], &hits, sizeof hits) != sizeof hits) _exit(2);
        _exit(0);
    }
    close(ends[1]);
    unsigned char answer[FUNCTIONS + sizeof hits];
    size_t got = 0;
    ssize_t more;
    while ((more = read(ends[0], answer + got, sizeof answer - got)) > 0) got += more;
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    uint64_t ran = 1; /* a child that died had reached the site */
    if (got == count + sizeof ran) memcpy(&ran, answer + count, sizeof ran);
    printf("%llx %llu %d", (unsigned long long)site, (unsigned long long)ran, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    for (unsigned n = 0; n < count && n < got; n++)
        if (answer[n]) printf(" %u", n);
    if (got < count) printf(" %zu", got);
    puts("");
}

int main(int argc, char **argv) {
    setenv("LC_ALL", "C", 1);
    for (int n = 0; n < 64; n++) garbage[n] = 0x35 + 11 * n;
    wide = __builtin_cpu_supports("avx512bw") ? 2 : __builtin_cpu_supports("avx2");
    void *module = dlopen(argv[1], RTLD_NOW);
    if (!module) return fprintf(stderr, "%s\n", dlerror()), 2;
    run_one_t *run_one = (run_one_t *)dlsym(module, "run_one");
    struct link_map *map;
    if (!run_one || dlinfo(module, RTLD_DI_LINKMAP, &map)) return fprintf(stderr, "no run_one\n"), 2;
    unsigned count = run_all(run_one, expected, lengths);
    if (run_all(run_one, found, NULL) != count || memcmp(found, expected, sizeof found)) return fprintf(stderr, "two runs differ\n"), 2;
    int word = 2;
    for (; word < argc && *argv[word] != ':'; word++) {
        void **slot = (void **)(map->l_addr + strtoull(argv[word], NULL, 16));
        uint64_t page = (uint64_t)slot & -4096ull;
        if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE)) return perror("mprotect"), 2;
        original_resolver = *slot;
        *slot = (void *)destroying_resolver;
    }
    for (word++; word < argc; word++) try_site(run_one, map->l_addr, strtoull(argv[word], NULL, 16), count);
}
