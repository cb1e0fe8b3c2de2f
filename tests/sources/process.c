/* A process that does what it is told, and says after each step how much static TLS is taken.

   Arguments: +FILE opens, *FILE opens with RTLD_GLOBAL, -FILE closes, =FILE:SYMBOL looks a thread-local symbol up, which is a first dynamic access.
   Answers: "start USED SIZE ALIGN OPTIONAL TCB", then for each step ":ERROR<tab>USED<tab>OPTIONAL", ERROR empty when it worked.
   The numbers are glibc's own: elf/dl-tls.c:_dl_get_tls_static_info, and the words behind the list of slots in _rtld_global, which
   libc.so.6 (2.34 and later) gives the place of; before, they are where size and alignment stand. -1: not known (musl). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static size_t *used, *optional, size, align;

static void find(void)
{
    void (*info)(size_t *, size_t *) = (void (*)(size_t *, size_t *))dlsym(RTLD_DEFAULT, "_dl_get_tls_static_info");
    size_t *global = dlsym(RTLD_DEFAULT, "_rtld_global");
    uint32_t *slots = dlsym(RTLD_DEFAULT, "_thread_db_rtld_global__dl_tls_dtv_slotinfo_list");
    if (!info || !global)
        return;
    info(&size, &align);
    if (slots) {
        size_t *words = (size_t *)((char *)global + slots[2]);
        used = words + 2;
        optional = words + 3;
        return;
    }
    for (size_t i = 1; i < 1000; i++)
        if (global[i] == size && global[i + 2] == align && global[i + 1] <= size) {
            used = global + i + 1;
            optional = global + i + 3;
            return;
        }
}

static void say(const char *error)
{
    printf(":%s\t%ld\t%ld\n", error ? error : "", used ? (long)*used : -1, optional ? (long)*optional : -1);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static void *handles[4096];
    uint32_t *tcb = dlsym(RTLD_DEFAULT, "_thread_db_sizeof_pthread");
    find();
    dlerror();
    printf("start %ld %ld %ld %ld %ld\n", used ? (long)*used : -1, (long)size, (long)align, optional ? (long)*optional : -1, tcb ? (long)*tcb : -1);
    fflush(stdout);
    for (int i = 1; i < argc; i++) {
        char *name = argv[i] + 1, *symbol = NULL;
        int opened = 0;
        if (argv[i][0] == '+' || argv[i][0] == '*') {
            handles[i] = dlopen(name, RTLD_NOW | (argv[i][0] == '*' ? RTLD_GLOBAL : RTLD_LOCAL));
            say(handles[i] ? NULL : dlerror());
            continue;
        }
        if (argv[i][0] == '=') {
            symbol = strrchr(name, ':');
            *symbol++ = 0;
        }
        for (int k = 1; k < i && !opened; k++)
            if (handles[k] && argv[k][0] != '-' && argv[k][0] != '=' && strcmp(argv[k] + 1, name) == 0) {
                opened = 1;
                if (symbol)
                    say(dlsym(handles[k], symbol) ? NULL : dlerror());
                else {
                    say(dlclose(handles[k]) ? dlerror() : NULL);
                    handles[k] = NULL;
                }
            }
        if (!opened)
            say("not open");
    }
    return 0;
}
