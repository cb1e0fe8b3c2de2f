/* A table that each thread fills for itself. */
static __thread unsigned table[256];
static __thread int filled;

unsigned checksum(const unsigned char *data, unsigned long length)
{
    unsigned sum = 0xFFFFFFFFu;
    for (unsigned i = 0; !filled && i < 256; i++) {
        unsigned value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ 0xEDB88320u : value >> 1;
        table[i] = value;
    }
    filled = 1;
    for (unsigned long i = 0; i < length; i++)
        sum = table[(sum ^ data[i]) & 0xFF] ^ sum >> 8;
    return ~sum;
}
