/*
 * The handler: decodes the VEX-encoded instruction at the fault and does it to this thread's tiles.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG,
 * TILERELEASE, TILEZERO, TILELOADD, TILESTORED, TDPBF16PS, TDPBSUD.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* REG_RIP */
#endif
#include "amx_emulator.h"

#include "model/amx.h"

#include <cpuid.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* Only asked for where there is AVX-512 (kernels.c). */
#pragma GCC target("avx2,fma")

enum { TILES = 8 };

typedef union Row {
    float f32[16];
    int32_t s32[16];
    uint16_t bf16[32];
    uint8_t u8[64];
    int8_t s8[64];
} Row;

typedef struct Tile {
    Row row[AMX_ROWS];
} Tile;

/* Of each thread, as the registers are. */
static _Thread_local AmxConfig config; /* palette 0: none */
static _Thread_local Tile tiles[TILES];

static bool emulated;

static void refuse(const char *why)
{
    static const char begin[] = "amx_emulator: the CPU would refuse this: ";
    (void)!write(2, begin, sizeof begin - 1);
    (void)!write(2, why, strlen(why));
    (void)!write(2, "\n", 1);
    abort();
}

/* --- the instructions --- */

static void check_tile(int i)
{
    if (config.palette != 1 || config.rows[i] == 0)
        refuse("a tile that is not configured");
}

static void load_config(const void *from)
{
    AmxConfig c;
    memcpy(&c, from, sizeof c);
    if (c.palette != 1 || c.start_row != 0)
        refuse("palette or start row");
    for (size_t i = 0; i < sizeof c.reserved; i++)
        if (c.reserved[i] != 0)
            refuse("reserved bytes of a configuration");
    for (int i = 0; i < 16; i++) {
        if (c.rows[i] > AMX_ROWS || c.bytes[i] > AMX_BYTES)
            refuse("a tile too large");
        if ((c.rows[i] == 0) != (c.bytes[i] == 0) || (i >= TILES && c.rows[i] != 0))
            refuse("a tile with rows or bytes alone, or behind the last");
    }
    config = c;
    memset(tiles, 0, sizeof tiles);
}

/* Bytes and rows behind the tile's own become zero. */
static void load(int tile, const char *from, long stride)
{
    check_tile(tile);
    memset(&tiles[tile], 0, sizeof tiles[tile]);
    for (int r = 0; r < config.rows[tile]; r++)
        memcpy(&tiles[tile].row[r], from + r * stride, config.bytes[tile]);
}

static void store(int tile, char *to, long stride)
{
    check_tile(tile);
    for (int r = 0; r < config.rows[tile]; r++)
        memcpy(to + r * stride, &tiles[tile].row[r], config.bytes[tile]);
}

static float widen(uint16_t bf16)
{
    union {
        uint32_t bits;
        float value;
    } u = {(uint32_t)bf16 << 16};
    return u.value;
}

/* Subnormal numbers are zero, before and behind each operation. */
static inline float flush(float x)
{
    return fabsf(x) < FLT_MIN ? x * 0.0f : x;
}

static void check_dot(int sum, int a, int b)
{
    check_tile(sum);
    check_tile(a);
    check_tile(b);
    if (sum == a || sum == b || a == b)
        refuse("the same tile twice");
    if (config.bytes[sum] != config.bytes[b] || config.rows[sum] != config.rows[a] ||
        config.bytes[a] / 4 != config.rows[b] || config.bytes[a] % 4 != 0 ||
        config.bytes[sum] % 4 != 0)
        refuse("tiles that do not fit each other");
}

static void dot_bf16(int sum, int a, int b)
{
    check_dot(sum, a, b);
    const int columns = config.bytes[sum] / 4;
    for (int m = 0; m < config.rows[sum]; m++) {
        float parts[2][16] = {{0}};
        for (int k = 0; k < config.bytes[a] / 4; k++)
            for (int p = 0; p < 2; p++) {
                const float x = flush(widen(tiles[a].row[m].bf16[2 * k + p]));
                for (int n = 0; n < columns; n++) {
                    const float w = flush(widen(tiles[b].row[k].bf16[2 * n + p]));
                    parts[p][n] = flush(fmaf(x, w, parts[p][n]));
                }
            }
        float *y = tiles[sum].row[m].f32;
        for (int n = 0; n < columns; n++)
            y[n] = flush(flush(y[n]) + flush(parts[0][n] + parts[1][n]));
    }
}

static void dot_s8u8(int sum, int a, int b)
{
    check_dot(sum, a, b);
    for (int m = 0; m < config.rows[sum]; m++)
        for (int k = 0; k < config.bytes[a] / 4; k++)
            for (int n = 0; n < config.bytes[sum] / 4; n++)
                for (int i = 0; i < 4; i++)
                    tiles[sum].row[m].s32[n] +=
                        tiles[a].row[m].s8[4 * k + i] * tiles[b].row[k].u8[4 * n + i];
}

/* --- decoding --- */

/* The general registers by their numbers in instructions. */
static const int REGISTERS[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};

typedef struct Operands {
    int reg, rm, vvvv;
    bool memory;
    char *address; /* without the index of tile loads and stores */
    long index;    /* that, scaled: their stride */
    size_t length; /* of the instruction */
} Operands;

/* at: the byte behind the opcode. x, b: the prefix's bits, as register numbers' 8. */
static void decode_modrm(const uint8_t *at, const greg_t *registers, int x, int b, bool tiled,
                         Operands *o)
{
    const uint8_t *begin = at;
    const int modrm = *at++, mod = modrm >> 6, low = modrm & 7;
    o->reg = modrm >> 3 & 7;
    o->rm = low;
    o->memory = mod != 3;
    o->index = 0;
    if (o->memory) {
        if (mod == 0 && low == 5)
            refuse("an address that this emulator does not know");
        long address = 0;
        int base = low | b;
        bool has_base = true;
        if (low == 4) {
            const int sib = *at++, index = (sib >> 3 & 7) | x;
            base = (sib & 7) | b;
            has_base = mod != 0 || (sib & 7) != 5;
            if (index != 4)
                o->index = (long)registers[REGISTERS[index]] * (1L << (sib >> 6));
        }
        if (has_base)
            address = (long)registers[REGISTERS[base]];
        if (mod == 1) {
            address += *(const int8_t *)at;
            at += 1;
        } else if (mod == 2 || !has_base) {
            int32_t displacement;
            memcpy(&displacement, at, sizeof displacement);
            address += displacement;
            at += 4;
        }
        if (!tiled)
            address += o->index;
        o->address = (char *)address; /* NOLINT(performance-no-int-to-ptr) */
    }
    o->length = (size_t)(at - begin);
}

/* false: not one of AMX's. */
static bool emulate(ucontext_t *context)
{
    greg_t *registers = context->uc_mcontext.gregs;
    const uint8_t *at = (const uint8_t *)registers[REG_RIP]; /* NOLINT(performance-no-int-to-ptr) */
    if (at[0] != 0xc4 || (at[1] & 31) != 2 || (at[2] & 0x84) != 0) /* VEX of 3, 0F38, W0, L0 */
        return false;
    const int prefix = at[2] & 3, opcode = at[3]; /* 0: none, 1: 66, 2: F3, 3: F2 */
    Operands o = {0};
    if (opcode != 0x49 && opcode != 0x4b && opcode != 0x5c && opcode != 0x5e)
        return false;
    decode_modrm(at + 4, registers, at[1] & 0x40 ? 0 : 8, at[1] & 0x20 ? 0 : 8, opcode == 0x4b, &o);
    o.vvvv = ~(at[2] >> 3) & 15;
    if (opcode == 0x49 && prefix == 0 && o.memory && o.reg == 0) {
        load_config(o.address);
    } else if (opcode == 0x49 && prefix == 0 && at[4] == 0xc0) {
        memset(&config, 0, sizeof config);
        memset(tiles, 0, sizeof tiles);
    } else if (opcode == 0x49 && prefix == 3 && !o.memory && o.rm == 0) {
        check_tile(o.reg);
        memset(&tiles[o.reg], 0, sizeof tiles[o.reg]);
    } else if (opcode == 0x4b && prefix == 3 && o.memory) {
        load(o.reg, o.address, o.index);
    } else if (opcode == 0x4b && prefix == 2 && o.memory) {
        store(o.reg, o.address, o.index);
    } else if (opcode == 0x5c && prefix == 2 && !o.memory) {
        dot_bf16(o.reg, o.rm, o.vvvv);
    } else if (opcode == 0x5e && prefix == 2 && !o.memory) {
        dot_s8u8(o.reg, o.rm, o.vvvv);
    } else {
        return false;
    }
    registers[REG_RIP] += (greg_t)(4 + o.length);
    return true;
}

static void on_sigill(int number, siginfo_t *info, void *context)
{
    (void)info;
    if (!emulate(context)) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigaction(number, &action, NULL); /* it comes again */
    }
}

/* --- the choice --- */

/* cmocka takes SIGILL in every test, as that test's failure: not from the emulator. */
sighandler_t signal(int number, sighandler_t handler)
{
    if (number == SIGILL && emulated)
        return SIG_DFL;
    struct sigaction new = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    return sigaction(number, &new, &old) == 0 ? old.sa_handler : SIG_ERR;
}

static bool cpu_has_tiles(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & (1u << 24));
}

bool amx_usable(void)
{
    if (cpu_has_tiles())
        return false; /* the same test without the emulator runs them */
    struct sigaction action = {.sa_sigaction = on_sigill, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGILL, &action, NULL) < 0)
        return false;
    emulated = true;
    return true;
}

bool amx_emulated(void)
{
    return emulated;
}
