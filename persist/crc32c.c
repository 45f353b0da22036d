/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crc32c.c: CRC-32C by the machine's instruction, or eight bytes at a time by tables.
 *
 *     x86-64   SSE4.2 crc32, asked for at run time      aarch64   crc32c*, the same      else   slice-by-8
 *
 * A table of slice-by-8 is linear: entry a ^ b is entry a ^ entry b. So eight numbers say all 256 of one: BASE_k holds
 * the entries 1, 2, 4 ... 128 of table k, and the compiler makes the rest. Table 0 is the usual one; entry i of table k
 * is what i becomes after k more zero bytes.
 *
 * Invariants
 *   1. No state: the tables are constants, and which way is taken is asked of the processor at every call (a load).
 * Cost    8 bytes in 3 cycles with the instruction, about 1.5 bytes per cycle without; 8 KiB of tables.
 * Thread  any.
 * Spec    RFC 3720 appendix B.4 (test values).
 */
#include "persist/crc32c.h"

#include <string.h>

#include "core/base/check.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HAS_WAY 1
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#define HAS_WAY 1
#else
#define HAS_WAY 0
#endif

#define BASE_0(X, i)                                                                                                   \
    X(i, 0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78)
#define BASE_1(X, i)                                                                                                   \
    X(i, 0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9)
#define BASE_2(X, i)                                                                                                   \
    X(i, 0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743)
#define BASE_3(X, i)                                                                                                   \
    X(i, 0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f)
#define BASE_4(X, i)                                                                                                   \
    X(i, 0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c)
#define BASE_5(X, i)                                                                                                   \
    X(i, 0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6)
#define BASE_6(X, i)                                                                                                   \
    X(i, 0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4)
#define BASE_7(X, i)                                                                                                   \
    X(i, 0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664)

#define BIT(i, b, base) ((i) >> (b)&1 ? (base) : 0)
#define SUM(i, a, b, c, d, e, f, g, h)                                                                                 \
    (BIT(i, 0, a) ^ BIT(i, 1, b) ^ BIT(i, 2, c) ^ BIT(i, 3, d) ^ BIT(i, 4, e) ^ BIT(i, 5, f) ^ BIT(i, 6, g) ^          \
     BIT(i, 7, h))
#define ENTRY(base, i)  base(SUM, (i))
#define ROW_4(base, i)  ENTRY(base, i), ENTRY(base, i + 1), ENTRY(base, i + 2), ENTRY(base, i + 3)
#define ROW_16(base, i) ROW_4(base, i), ROW_4(base, i + 4), ROW_4(base, i + 8), ROW_4(base, i + 12)
#define ROW_64(base, i) ROW_16(base, i), ROW_16(base, i + 16), ROW_16(base, i + 32), ROW_16(base, i + 48)
#define TABLE(base)                                                                                                    \
    {                                                                                                                  \
        ROW_64(base, 0), ROW_64(base, 64), ROW_64(base, 128), ROW_64(base, 192)                                        \
    }

static const uint32_t table[8][256] = {TABLE(BASE_0), TABLE(BASE_1), TABLE(BASE_2), TABLE(BASE_3),
                                       TABLE(BASE_4), TABLE(BASE_5), TABLE(BASE_6), TABLE(BASE_7)};

static inline uint32_t load_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n)
{
    const uint8_t *at = p;
    uint32_t c = ~crc;
    for (; n >= 8; n -= 8, at += 8) {
        uint32_t a = c ^ load_le32(at), b = load_le32(at + 4);
        c = table[7][a & 255] ^ table[6][a >> 8 & 255] ^ table[5][a >> 16 & 255] ^ table[4][a >> 24] ^
            table[3][b & 255] ^ table[2][b >> 8 & 255] ^ table[1][b >> 16 & 255] ^ table[0][b >> 24];
    }
    for (; n != 0; n--, at++)
        c = c >> 8 ^ table[0][(c ^ *at) & 255];
    return ~c;
}

#if defined(__x86_64__)

bool crc32c_has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2") != 0;
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const void *p, size_t n)
{
    const uint8_t *at = p;
    uint64_t c = ~crc;
    for (; n >= 8; n -= 8, at += 8) {
        uint64_t v;
        memcpy(&v, at, sizeof(v));
        c = _mm_crc32_u64(c, v);
    }
    uint32_t c32 = (uint32_t)c;
    for (; n != 0; n--, at++)
        c32 = _mm_crc32_u8(c32, *at);
    return ~c32;
}

#elif HAS_WAY

bool crc32c_has_instruction(void)
{
    return (getauxval(AT_HWCAP) & 1ul << 7) != 0; /* HWCAP_CRC32 of aarch64 */
}

/* The assembler is told that there are such instructions; compilers differ in how they would be. */
static inline uint32_t crc_u64(uint32_t c, uint64_t v)
{
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(c) : "r"(v));
    return c;
}

static inline uint32_t crc_u8(uint32_t c, uint8_t v)
{
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(c) : "r"((uint32_t)v));
    return c;
}

static uint32_t by_instruction(uint32_t crc, const void *p, size_t n)
{
    const uint8_t *at = p;
    uint32_t c = ~crc;
    for (; n >= 8; n -= 8, at += 8) {
        uint64_t v;
        memcpy(&v, at, sizeof(v));
        c = crc_u64(c, v);
    }
    for (; n != 0; n--, at++)
        c = crc_u8(c, *at);
    return ~c;
}

#else

bool crc32c_has_instruction(void)
{
    return false;
}

#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
#if HAS_WAY
    if (LIKELY(crc32c_has_instruction()))
        return by_instruction(crc, p, n);
#endif
    return crc32c_portable(crc, p, n);
}
