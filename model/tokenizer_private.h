/*
 * Inside of the tokenizer: shared by its four files (tokenizer.c encode and decode, _read.c files,
 * _split.c the pre-tokenizer, _bpe.c merging).
 */
#ifndef WHEN_MODEL_TOKENIZER_PRIVATE_H
#define WHEN_MODEL_TOKENIZER_PRIVATE_H

#include "model/tokenizer.h"

typedef struct TokenEntry {
    uint32_t begin, n; /* in Tokenizer.bytes */
    bool used, added, special;
} TokenEntry;

typedef struct MergeSlot {
    int32_t left, right; /* left < 0: empty */
    int32_t merged;
    uint32_t rank;
} MergeSlot;

struct Tokenizer {
    uint8_t *bytes; /* of all tokens */
    size_t n_bytes, bytes_capacity;
    TokenEntry *entries; /* [size], by id */
    size_t size, entries_capacity;
    int32_t *content_slots; /* [content_mask + 1] ids of the vocabulary by content, -1 empty */
    size_t content_mask;
    MergeSlot *merge_slots; /* [merge_mask + 1] by (left, right) */
    size_t merge_mask;
    int32_t byte_ids[256];
    int32_t *added; /* [n_added] ids, longest content first */
    size_t n_added, added_capacity;
    bool added_begins[256]; /* first bytes of added tokens */
};

/* Scratch of one call of tokenizer_encode, reused for each piece. */
typedef struct BpeScratch {
    struct BpeSymbol *symbols;
    size_t symbols_capacity;
    struct BpePair *heap;
    size_t n_heap, heap_capacity;
} BpeScratch;

void bpe_scratch_deinit(BpeScratch *scratch);

/* Builds the content table over the used entries that are not only added; -ENOMEM. */
int bpe_index_contents(Tokenizer *tokenizer);
/* The vocabulary's id of these bytes, or TOKENIZER_NONE. */
int bpe_find(const Tokenizer *tokenizer, const void *bytes, size_t n, int32_t *id);
/* An empty table for n merges, and one merge into it (a pair that is there keeps its rank). */
int bpe_reserve_merges(Tokenizer *tokenizer, size_t n);
void bpe_add_merge(Tokenizer *tokenizer, int32_t left, int32_t right, int32_t merged,
                   uint32_t rank);
/* Appends the ids of one piece. O(n log n). */
int bpe_encode_piece(const Tokenizer *tokenizer, const void *bytes, size_t n, BpeScratch *scratch,
                     TokenIds *ids);

#endif
