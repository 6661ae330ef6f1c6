/* rng.h: Philox4x64-10, a counter-based generator (Salmon et al., SC 2011): block i of the stream of a key is a
 * function of both. The stream is that of numpy.random.Philox(key=[seed, purpose], counter=[0, 0, step, 0]). */
#ifndef NN_RNG_H
#define NN_RNG_H

#include <stdint.h>

enum nn_purpose { NN_WEIGHTS, NN_SHUFFLE, NN_WINDOWS = 3 };

static inline void nn_philox(const uint64_t key[2], const uint64_t counter[4], uint64_t out[4])
{
    uint64_t k0 = key[0], k1 = key[1], a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    for (int round = 0; round < 10; round++) {
        const unsigned __int128 left = (unsigned __int128)a * 0xD2E7470EE14C6C93u;
        const unsigned __int128 right = (unsigned __int128)c * 0xCA5A826395121157u;
        a = (uint64_t)(right >> 64) ^ b ^ k0;
        b = (uint64_t)right;
        c = (uint64_t)(left >> 64) ^ d ^ k1;
        d = (uint64_t)left;
        k0 += 0x9E3779B97F4A7C15u;
        k1 += 0xBB67AE8584CAA73Bu;
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

/* order = a permutation of 0 .. n-1: Fisher-Yates from the top, word i of the stream for place n - 1 - i. Words are
 * made some blocks at a time, which do not wait for each other, nor for the places. */
static inline void nn_permutation(int64_t *order, int64_t n, uint64_t seed, uint64_t step)
{
    enum { WORDS = 64 };
    const uint64_t key[2] = {seed, NN_SHUFFLE};
    uint64_t counter[4] = {0, 0, step, 0}, words[WORDS];
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n - 1, word = 0; i > 0; i--, word++) {
        if (word % WORDS == 0)
            for (int w = 0; w < WORDS; w += 4) counter[0]++, nn_philox(key, counter, words + w);
        const int64_t j = (int64_t)(((unsigned __int128)words[word % WORDS] * (uint64_t)(i + 1)) >> 64);
        const int64_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}
#endif
