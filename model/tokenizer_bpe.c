/*
 * Byte-pair merging. The pair of lowest rank is merged first, the leftmost of equals, until none is
 * left. Symbols are a linked list in an array, candidate pairs a heap; a candidate that a merge
 * made stale is recognised when it comes up. So one piece of n bytes costs n log n, however long.
 */
#include "model/tokenizer_private.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>

typedef struct BpeSymbol {
    int32_t id; /* -1: merged into its left neighbour */
    uint32_t previous, next;
} BpeSymbol;

typedef struct BpePair {
    uint32_t rank, at; /* at: index of the left symbol */
    int32_t left, right, merged;
} BpePair;

#define NOTHING UINT32_MAX

void bpe_scratch_deinit(BpeScratch *scratch)
{
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (BpeScratch){0};
}

static size_t hash_bytes(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return (size_t)(h ^ h >> 29);
}

static size_t hash_pair(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h ^ h >> 32);
}

/* A power of two at least twice n. */
static size_t slots_for(size_t n)
{
    size_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

int bpe_index_contents(Tokenizer *t)
{
    size_t slots = slots_for(t->size);
    free(t->content_slots);
    t->content_slots = malloc(slots * sizeof *t->content_slots);
    if (!t->content_slots)
        return -ENOMEM;
    t->content_mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        t->content_slots[i] = -1;
    for (size_t id = 0; id < t->size; id++) {
        const TokenEntry *e = &t->entries[id];
        int32_t there;
        if (!e->used || bpe_find(t, t->bytes + e->begin, e->n, &there) == 0)
            continue;
        size_t slot = hash_bytes(t->bytes + e->begin, e->n) & t->content_mask;
        while (t->content_slots[slot] >= 0)
            slot = (slot + 1) & t->content_mask;
        t->content_slots[slot] = (int32_t)id;
    }
    return 0;
}

int bpe_find(const Tokenizer *t, const void *bytes, size_t n, int32_t *id)
{
    for (size_t slot = hash_bytes(bytes, n) & t->content_mask; t->content_slots[slot] >= 0;
         slot = (slot + 1) & t->content_mask) {
        const TokenEntry *e = &t->entries[t->content_slots[slot]];
        if (e->n == n && memcmp(t->bytes + e->begin, bytes, n) == 0) {
            *id = t->content_slots[slot];
            return 0;
        }
    }
    return TOKENIZER_NONE;
}

int bpe_reserve_merges(Tokenizer *t, size_t n)
{
    size_t slots = slots_for(n);
    free(t->merge_slots);
    t->merge_slots = malloc(slots * sizeof *t->merge_slots);
    if (!t->merge_slots)
        return -ENOMEM;
    t->merge_mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        t->merge_slots[i].left = -1;
    return 0;
}

static MergeSlot *find_merge(const Tokenizer *t, int32_t left, int32_t right)
{
    size_t slot = hash_pair(left, right) & t->merge_mask;
    while (t->merge_slots[slot].left >= 0 &&
           (t->merge_slots[slot].left != left || t->merge_slots[slot].right != right))
        slot = (slot + 1) & t->merge_mask;
    return &t->merge_slots[slot];
}

void bpe_add_merge(Tokenizer *t, int32_t left, int32_t right, int32_t merged, uint32_t rank)
{
    MergeSlot *slot = find_merge(t, left, right);
    if (slot->left < 0)
        *slot = (MergeSlot){left, right, merged, rank};
}

static bool comes_before(const BpePair *a, const BpePair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(BpeScratch *s, BpePair pair)
{
    size_t i = s->n_heap++;
    while (i && comes_before(&pair, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = pair;
}

static BpePair heap_pop(BpeScratch *s)
{
    BpePair top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->n_heap)
            break;
        if (child + 1 < s->n_heap && comes_before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!comes_before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    if (s->n_heap)
        s->heap[i] = last;
    return top;
}

static void consider(const Tokenizer *t, BpeScratch *s, uint32_t at)
{
    uint32_t next = s->symbols[at].next;
    if (next == NOTHING)
        return;
    int32_t left = s->symbols[at].id, right = s->symbols[next].id;
    const MergeSlot *merge = find_merge(t, left, right);
    if (merge->left >= 0)
        heap_push(s, (BpePair){merge->rank, at, left, right, merge->merged});
}

int bpe_encode_piece(const Tokenizer *t, const void *bytes, size_t n, BpeScratch *s, TokenIds *ids)
{
    const uint8_t *p = bytes;
    if (n == 0)
        return 0;
    if (n == 1)
        return token_ids_add(ids, t->byte_ids[p[0]]);
    if (n >= UINT32_MAX / 4)
        return -ENOMEM;
    /* At most n - 1 pairs at first, and each of at most n - 1 merges adds two. */
    if (mem_grow((void **)&s->symbols, &s->symbols_capacity, n, sizeof *s->symbols) < 0 ||
        mem_grow((void **)&s->heap, &s->heap_capacity, 3 * n, sizeof *s->heap) < 0)
        return -ENOMEM;
    s->n_heap = 0;
    for (size_t i = 0; i < n; i++)
        s->symbols[i] = (BpeSymbol){t->byte_ids[p[i]], i ? (uint32_t)i - 1 : NOTHING,
                                    i + 1 < n ? (uint32_t)i + 1 : NOTHING};
    for (size_t i = 0; i + 1 < n; i++)
        consider(t, s, (uint32_t)i);
    while (s->n_heap) {
        BpePair pair = heap_pop(s);
        BpeSymbol *left = &s->symbols[pair.at];
        if (left->id != pair.left || left->next == NOTHING ||
            s->symbols[left->next].id != pair.right)
            continue; /* stale */
        BpeSymbol *right = &s->symbols[left->next];
        left->id = pair.merged;
        left->next = right->next;
        right->id = -1;
        if (left->next != NOTHING)
            s->symbols[left->next].previous = pair.at;
        consider(t, s, pair.at);
        if (left->previous != NOTHING)
            consider(t, s, left->previous);
    }
    for (uint32_t i = 0; i != NOTHING; i = s->symbols[i].next)
        if (token_ids_add(ids, s->symbols[i].id) < 0)
            return -ENOMEM;
    return 0;
}
