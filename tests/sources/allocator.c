/* The shape of mimalloc's thread state: a default heap and an id, reached on every allocation. MODEL: a tls model. */
#include <stddef.h>

struct heap {
    void *pages[74];
    size_t count;
};

static __thread struct heap default_heap __attribute__((tls_model(MODEL)));
__thread long thread_id __attribute__((tls_model(MODEL)));

void *allocate(size_t size)
{
    default_heap.count += size;
    thread_id++;
    return &default_heap;
}
