/* Thread-local variables, reached by the model that the command line says; and a thread's name, as allocators read it. */
#ifndef BULK
#define BULK 8
#endif
static __thread char bulk[BULK] = {1};
static __thread long counter = 7;

long *counter_of_this_thread(void) { return &counter; }
char *bulk_of_this_thread(int i) { return bulk + i; }
long add(long n) { return counter += n; }
unsigned long thread_name(void) { return (unsigned long)__builtin_thread_pointer(); }
