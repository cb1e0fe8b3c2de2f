static __thread volatile unsigned long history[32];
static __thread unsigned long count;

unsigned long next_count(void)
{
    history[count % 32] = count;
    return ++count;
}
