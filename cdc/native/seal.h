/* The MAC behind a message of ours, as cdc/seal.py makes it: keyed BLAKE2b of 9 bytes, in base64.

   Source: RFC 7693; tests/unit/cdc/test_seal.py compares it with Python's hashlib. */

#ifndef CDC_SEAL_H
#define CDC_SEAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { SEAL_KEY_MAX = 64, SEAL_BLOCK = 128, SEAL_BYTES = 9, SEAL_CHARS = 12, SEAL_TAIL = 22 };

/* What is written in place of a body's last brace: ,"mac":"123456789012"} */
#define SEAL_BEGIN ",\"mac\":\""

typedef struct {
    uint64_t h[8]; /* behind the key's block, which is the same for every message */
} Seal;

static const uint64_t SEAL_IV[8] = {
    0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u,
    0x510e527fade682d1u, 0x9b05688c2b3e6c1fu, 0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u,
};

static const uint8_t SEAL_SIGMA[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};

static inline uint64_t seal_rotated(uint64_t x, int bits)
{
    return x >> bits | x << (64 - bits);
}

static inline uint64_t seal_word(const unsigned char *at)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
#else
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--)
        word = word << 8 | at[i];
    return word;
#endif
}

#define SEAL_MIX(a, b, c, d, x, y)                                                                 \
    do {                                                                                           \
        v[a] += v[b] + (x);                                                                        \
        v[d] = seal_rotated(v[d] ^ v[a], 32);                                                      \
        v[c] += v[d];                                                                              \
        v[b] = seal_rotated(v[b] ^ v[c], 24);                                                      \
        v[a] += v[b] + (y);                                                                        \
        v[d] = seal_rotated(v[d] ^ v[a], 16);                                                      \
        v[c] += v[d];                                                                              \
        v[b] = seal_rotated(v[b] ^ v[c], 63);                                                      \
    } while (0)

#define SEAL_ROUND(r)                                                                              \
    do {                                                                                           \
        const uint8_t *s = SEAL_SIGMA[r];                                                          \
        SEAL_MIX(0, 4, 8, 12, m[s[0]], m[s[1]]);                                                   \
        SEAL_MIX(1, 5, 9, 13, m[s[2]], m[s[3]]);                                                   \
        SEAL_MIX(2, 6, 10, 14, m[s[4]], m[s[5]]);                                                  \
        SEAL_MIX(3, 7, 11, 15, m[s[6]], m[s[7]]);                                                  \
        SEAL_MIX(0, 5, 10, 15, m[s[8]], m[s[9]]);                                                  \
        SEAL_MIX(1, 6, 11, 12, m[s[10]], m[s[11]]);                                                \
        SEAL_MIX(2, 7, 8, 13, m[s[12]], m[s[13]]);                                                 \
        SEAL_MIX(3, 4, 9, 14, m[s[14]], m[s[15]]);                                                 \
    } while (0)

/* One block into the state; `count` bytes were taken with it. */
static void seal_block(uint64_t h[8], const unsigned char *block, uint64_t count, bool last)
{
    uint64_t m[16], v[16];
    for (int i = 0; i < 16; i++)
        m[i] = seal_word(block + 8 * i);
    for (int i = 0; i < 8; i++) {
        v[i] = h[i];
        v[i + 8] = SEAL_IV[i];
    }
    v[12] ^= count;
    if (last)
        v[14] = ~v[14];
    /* Written out, so that the compiler knows the permutation of each. */
    SEAL_ROUND(0);
    SEAL_ROUND(1);
    SEAL_ROUND(2);
    SEAL_ROUND(3);
    SEAL_ROUND(4);
    SEAL_ROUND(5);
    SEAL_ROUND(6);
    SEAL_ROUND(7);
    SEAL_ROUND(8);
    SEAL_ROUND(9);
    SEAL_ROUND(10);
    SEAL_ROUND(11);
    for (int i = 0; i < 8; i++)
        h[i] ^= v[i] ^ v[i + 8];
}

/* false: the key is longer than BLAKE2b takes, or empty. */
static inline bool seal_open(Seal *seal, const char *key, size_t size)
{
    unsigned char block[SEAL_BLOCK] = {0};
    if (size == 0 || size > SEAL_KEY_MAX)
        return false;
    memcpy(block, key, size);
    memcpy(seal->h, SEAL_IV, sizeof seal->h);
    seal->h[0] ^= 0x01010000u ^ (uint64_t)size << 8 ^ SEAL_BYTES;
    seal_block(seal->h, block, SEAL_BLOCK, false);
    return true;
}

/* The MAC of a text that is not empty, as 12 characters of base64. */
static inline void seal_mac(const Seal *seal, const char *text, size_t size, char mac[SEAL_CHARS])
{
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = (const unsigned char *)text;
    unsigned char block[SEAL_BLOCK] = {0}, out[16];
    uint64_t h[8], count = SEAL_BLOCK;
    memcpy(h, seal->h, sizeof h);
    for (; size > SEAL_BLOCK; size -= SEAL_BLOCK, at += SEAL_BLOCK)
        seal_block(h, at, count += SEAL_BLOCK, false);
    memcpy(block, at, size);
    seal_block(h, block, count + size, true);
    for (int i = 0; i < 16; i++)
        out[i] = (unsigned char)(h[i / 8] >> 8 * (i % 8));
    for (int i = 0; i < SEAL_BYTES / 3; i++) {
        uint32_t three = (uint32_t)out[3 * i] << 16 | (uint32_t)out[3 * i + 1] << 8 | out[3 * i + 2];
        for (int j = 0; j < 4; j++)
            mac[4 * i + j] = base64[three >> (18 - 6 * j) & 63];
    }
}

/* Whether a body ends with a MAC, whosever it is. */
static inline bool seal_there(const char *body, size_t size)
{
    return size > SEAL_TAIL &&
           !memcmp(body + size - SEAL_TAIL, SEAL_BEGIN, sizeof SEAL_BEGIN - 1) &&
           !memcmp(body + size - 2, "\"}", 2);
}

/* Whether a body ends with its own MAC. */
static inline bool seal_fits(const Seal *seal, const char *body, size_t size)
{
    char mac[SEAL_CHARS];
    if (!seal_there(body, size))
        return false;
    const char *tail = body + size - SEAL_TAIL;
    seal_mac(seal, body, size - SEAL_TAIL, mac);
    return !memcmp(tail + sizeof SEAL_BEGIN - 1, mac, SEAL_CHARS);
}

#endif
