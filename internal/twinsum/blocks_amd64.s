//go:build !purego

#include "textflag.h"

// The rounds are those of blockSHANI in Go's crypto/internal/fips140/sha256 (sha256block_amd64.s, Copyright 2024 The Go
// Authors, BSD licence), done for two states at once: a block is loaded, and its schedule computed, for both.

DATA flip<>+0(SB)/8, $0x0405060700010203
DATA flip<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL flip<>(SB), RODATA|NOPTR, $16

DATA k<>+0(SB)/4, $0x428a2f98
DATA k<>+4(SB)/4, $0x71374491
DATA k<>+8(SB)/4, $0xb5c0fbcf
DATA k<>+12(SB)/4, $0xe9b5dba5
DATA k<>+16(SB)/4, $0x3956c25b
DATA k<>+20(SB)/4, $0x59f111f1
DATA k<>+24(SB)/4, $0x923f82a4
DATA k<>+28(SB)/4, $0xab1c5ed5
DATA k<>+32(SB)/4, $0xd807aa98
DATA k<>+36(SB)/4, $0x12835b01
DATA k<>+40(SB)/4, $0x243185be
DATA k<>+44(SB)/4, $0x550c7dc3
DATA k<>+48(SB)/4, $0x72be5d74
DATA k<>+52(SB)/4, $0x80deb1fe
DATA k<>+56(SB)/4, $0x9bdc06a7
DATA k<>+60(SB)/4, $0xc19bf174
DATA k<>+64(SB)/4, $0xe49b69c1
DATA k<>+68(SB)/4, $0xefbe4786
DATA k<>+72(SB)/4, $0x0fc19dc6
DATA k<>+76(SB)/4, $0x240ca1cc
DATA k<>+80(SB)/4, $0x2de92c6f
DATA k<>+84(SB)/4, $0x4a7484aa
DATA k<>+88(SB)/4, $0x5cb0a9dc
DATA k<>+92(SB)/4, $0x76f988da
DATA k<>+96(SB)/4, $0x983e5152
DATA k<>+100(SB)/4, $0xa831c66d
DATA k<>+104(SB)/4, $0xb00327c8
DATA k<>+108(SB)/4, $0xbf597fc7
DATA k<>+112(SB)/4, $0xc6e00bf3
DATA k<>+116(SB)/4, $0xd5a79147
DATA k<>+120(SB)/4, $0x06ca6351
DATA k<>+124(SB)/4, $0x14292967
DATA k<>+128(SB)/4, $0x27b70a85
DATA k<>+132(SB)/4, $0x2e1b2138
DATA k<>+136(SB)/4, $0x4d2c6dfc
DATA k<>+140(SB)/4, $0x53380d13
DATA k<>+144(SB)/4, $0x650a7354
DATA k<>+148(SB)/4, $0x766a0abb
DATA k<>+152(SB)/4, $0x81c2c92e
DATA k<>+156(SB)/4, $0x92722c85
DATA k<>+160(SB)/4, $0xa2bfe8a1
DATA k<>+164(SB)/4, $0xa81a664b
DATA k<>+168(SB)/4, $0xc24b8b70
DATA k<>+172(SB)/4, $0xc76c51a3
DATA k<>+176(SB)/4, $0xd192e819
DATA k<>+180(SB)/4, $0xd6990624
DATA k<>+184(SB)/4, $0xf40e3585
DATA k<>+188(SB)/4, $0x106aa070
DATA k<>+192(SB)/4, $0x19a4c116
DATA k<>+196(SB)/4, $0x1e376c08
DATA k<>+200(SB)/4, $0x2748774c
DATA k<>+204(SB)/4, $0x34b0bcb5
DATA k<>+208(SB)/4, $0x391c0cb3
DATA k<>+212(SB)/4, $0x4ed8aa4a
DATA k<>+216(SB)/4, $0x5b9cca4f
DATA k<>+220(SB)/4, $0x682e6ff3
DATA k<>+224(SB)/4, $0x748f82ee
DATA k<>+228(SB)/4, $0x78a5636f
DATA k<>+232(SB)/4, $0x84c87814
DATA k<>+236(SB)/4, $0x8cc70208
DATA k<>+240(SB)/4, $0x90befffa
DATA k<>+244(SB)/4, $0xa4506ceb
DATA k<>+248(SB)/4, $0xbef9a3f7
DATA k<>+252(SB)/4, $0xc67178f2
GLOBL k<>(SB), RODATA|NOPTR, $256

// ENTER leaves with the first state in X1 and X2, the second in X11 and X12, the data from SI up to DX.
#define ENTER \
	MOVQ    a+0(FP), DI; \
	MOVQ    b+8(FP), R8; \
	MOVQ    data_base+16(FP), SI; \
	MOVQ    data_len+24(FP), DX; \
	SHRQ    $6, DX; \
	SHLQ    $6, DX; \
	JEQ     done; \
	ADDQ    SI, DX; \
	VMOVDQU (DI), X1; \
	VMOVDQU 16(DI), X2; \
	PSHUFD  $0xb1, X1, X1; \
	PSHUFD  $0x1b, X2, X2; \
	VMOVDQA X1, X7; \
	PALIGNR $0x08, X2, X1; \
	PBLENDW $0xf0, X7, X2; \
	VMOVDQU (R8), X11; \
	VMOVDQU 16(R8), X12; \
	PSHUFD  $0xb1, X11, X11; \
	PSHUFD  $0x1b, X12, X12; \
	VMOVDQA X11, X7; \
	PALIGNR $0x08, X12, X11; \
	PBLENDW $0xf0, X7, X12; \
	VMOVDQU flip<>+0(SB), X8; \
	LEAQ    k<>+0(SB), AX

// LEAVE writes the states back in the order of their words.
#define LEAVE \
	PSHUFD  $0x1b, X1, X1; \
	PSHUFD  $0xb1, X2, X2; \
	VMOVDQA X1, X7; \
	PBLENDW $0xf0, X2, X1; \
	PALIGNR $0x08, X7, X2; \
	VMOVDQU X1, (DI); \
	VMOVDQU X2, 16(DI); \
	PSHUFD  $0x1b, X11, X11; \
	PSHUFD  $0xb1, X12, X12; \
	VMOVDQA X11, X7; \
	PBLENDW $0xf0, X12, X11; \
	PALIGNR $0x08, X7, X12; \
	VMOVDQU X11, (R8); \
	VMOVDQU X12, 16(R8)

// Four rounds take four words of the schedule from X0, with the constants added, which LOAD takes from the block and NEXT
// from the schedule. FIRST are two of them, for both states, SECOND the other two.
#define LOAD(at, words) \
	VMOVDQU at(SI), X0; \
	PSHUFB  X8, X0; \
	VMOVDQA X0, words; \
	PADDD   at(AX), X0

#define NEXT(at, words) \
	VMOVDQA words, X0; \
	PADDD   at(AX), X0

#define FIRST \
	SHA256RNDS2 X0, X1, X2; \
	SHA256RNDS2 X0, X11, X12

#define SECOND \
	PSHUFD      $0x0e, X0, X0; \
	SHA256RNDS2 X0, X2, X1; \
	SHA256RNDS2 X0, X12, X11

// SCHEDULE ends the four words of the schedule that follow, from those now and before.
#define SCHEDULE(before, now, next) \
	VMOVDQA    now, X7; \
	PALIGNR    $0x04, before, X7; \
	PADDD      X7, next; \
	SHA256MSG2 now, next

#define FOUR(at, before, now, next) \
	NEXT(at, now); \
	FIRST; \
	SCHEDULE(before, now, next); \
	SECOND; \
	SHA256MSG1 now, before

// func blocks(a, b *[8]uint32, data []byte)
// Requires: AVX, SHA, SSE4.1, SSSE3
TEXT ·blocks(SB), NOSPLIT, $0-40
	ENTER

loop:
	// save the states for addition after the rounds
	VMOVDQA X1, X9
	VMOVDQA X2, X10
	VMOVDQA X11, X13
	VMOVDQA X12, X14

	LOAD(0, X3)
	FIRST
	SECOND
	LOAD(16, X4)
	FIRST
	SECOND
	SHA256MSG1 X4, X3
	LOAD(32, X5)
	FIRST
	SECOND
	SHA256MSG1 X5, X4
	LOAD(48, X6)
	FIRST
	SCHEDULE(X5, X6, X3)
	SECOND
	SHA256MSG1 X6, X5
	FOUR(64, X6, X3, X4)
	FOUR(80, X3, X4, X5)
	FOUR(96, X4, X5, X6)
	FOUR(112, X5, X6, X3)
	FOUR(128, X6, X3, X4)
	FOUR(144, X3, X4, X5)
	FOUR(160, X4, X5, X6)
	FOUR(176, X5, X6, X3)
	FOUR(192, X6, X3, X4)
	NEXT(208, X4)
	FIRST
	SCHEDULE(X3, X4, X5)
	SECOND
	NEXT(224, X5)
	FIRST
	SCHEDULE(X4, X5, X6)
	SECOND
	NEXT(240, X6)
	FIRST
	SECOND

	// add the saved states
	PADDD X9, X1
	PADDD X10, X2
	PADDD X13, X11
	PADDD X14, X12

	ADDQ $0x40, SI
	CMPQ DX, SI
	JNE  loop

	LEAVE

done:
	RET

// SIGMA adds the function σ1 of the words in Y7, which is 0 for 0.
#define SIGMA(sum) \
	VPRORD     $17, Y7, Y9; \
	VPRORD     $19, Y7, Y10; \
	VPSRLD     $10, Y7, Y7; \
	VPTERNLOGD $0x96, Y9, Y10, Y7; \
	VPADDD     Y7, sum, sum

// PUT saves four words of each block's schedule, with the constants added.
#define PUT(at, words) \
	VBROADCASTI128 at/2(AX), Y7; \
	VPADDD         Y7, words, Y7; \
	VMOVDQU        Y7, at(CX)

// EXPAND saves the oldest of sixteen words, and makes the four that follow in their place (FIPS 180-4, 6.2.2, step 1), of
// which the last two need the first two. Two blocks are dealt with at once, by ordinary instructions: on some processors
// those for SHA-256 all want the one unit that the rounds of two states keep busy.
#define EXPAND(at, oldest, older, newer, newest) \
	PUT(at, oldest); \
	VPALIGNR   $0x04, oldest, older, Y7; \
	VPRORD     $7, Y7, Y9; \
	VPRORD     $18, Y7, Y10; \
	VPSRLD     $3, Y7, Y7; \
	VPTERNLOGD $0x96, Y9, Y10, Y7; \
	VPADDD     Y7, oldest, oldest; \
	VPALIGNR   $0x04, newer, newest, Y7; \
	VPADDD     Y7, oldest, oldest; \
	VPSRLDQ    $8, newest, Y7; \
	SIGMA(oldest); \
	VPSLLDQ    $8, oldest, Y7; \
	SIGMA(oldest)

// PAIR loads the words of two blocks, each of them in one half of the registers.
#define PAIR \
	VMOVDQU     (SI), X3; \
	VMOVDQU     16(SI), X4; \
	VMOVDQU     32(SI), X5; \
	VMOVDQU     48(SI), X6; \
	VINSERTI128 $1, 64(SI), Y3, Y3; \
	VINSERTI128 $1, 80(SI), Y4, Y4; \
	VINSERTI128 $1, 96(SI), Y5, Y5; \
	VINSERTI128 $1, 112(SI), Y6, Y6; \
	VPSHUFB     Y8, Y3, Y3; \
	VPSHUFB     Y8, Y4, Y4; \
	VPSHUFB     Y8, Y5, Y5; \
	VPSHUFB     Y8, Y6, Y6; \
	ADDQ        $0x80, SI

// QUAD are the four rounds whose words were saved at this place.
#define QUAD(at) \
	VMOVDQU     at(BX), X0; \
	SHA256RNDS2 X0, X1, X2; \
	SHA256RNDS2 X0, X11, X12; \
	VMOVDQU     at+8(BX), X0; \
	SHA256RNDS2 X0, X2, X1; \
	SHA256RNDS2 X0, X12, X11

#define KEEP \
	VMOVDQA64 X1, X16; \
	VMOVDQA64 X2, X17; \
	VMOVDQA64 X11, X18; \
	VMOVDQA64 X12, X19

#define ADD \
	VPADDD X16, X1, X1; \
	VPADDD X17, X2, X2; \
	VPADDD X18, X11, X11; \
	VPADDD X19, X12, X12

// func blocksWide(a, b *[8]uint32, data []byte)
// Requires: AVX512F, AVX512VL, SHA, SSE4.1, SSSE3
//
// The schedules of two blocks are saved at CX while the rounds of the two before take theirs from BX.
TEXT ·blocksWide(SB), $1056-40
	ENTER
	VBROADCASTI128 flip<>+0(SB), Y8
	LEAQ           schedules-1056(SP), BX
	LEAQ           schedules-528(SP), CX

	PAIR
	EXPAND(0, Y3, Y4, Y5, Y6)
	EXPAND(32, Y4, Y5, Y6, Y3)
	EXPAND(64, Y5, Y6, Y3, Y4)
	EXPAND(96, Y6, Y3, Y4, Y5)
	EXPAND(128, Y3, Y4, Y5, Y6)
	EXPAND(160, Y4, Y5, Y6, Y3)
	EXPAND(192, Y5, Y6, Y3, Y4)
	EXPAND(224, Y6, Y3, Y4, Y5)
	EXPAND(256, Y3, Y4, Y5, Y6)
	EXPAND(288, Y4, Y5, Y6, Y3)
	EXPAND(320, Y5, Y6, Y3, Y4)
	EXPAND(352, Y6, Y3, Y4, Y5)
	PUT(384, Y3)
	PUT(416, Y4)
	PUT(448, Y5)
	PUT(480, Y6)
	XCHGQ BX, CX
	CMPQ  DX, SI
	JEQ   last

loop:
	PAIR
	KEEP
	EXPAND(0, Y3, Y4, Y5, Y6)
	QUAD(0)
	QUAD(32)
	EXPAND(32, Y4, Y5, Y6, Y3)
	QUAD(64)
	QUAD(96)
	EXPAND(64, Y5, Y6, Y3, Y4)
	QUAD(128)
	QUAD(160)
	EXPAND(96, Y6, Y3, Y4, Y5)
	QUAD(192)
	QUAD(224)
	EXPAND(128, Y3, Y4, Y5, Y6)
	QUAD(256)
	QUAD(288)
	EXPAND(160, Y4, Y5, Y6, Y3)
	QUAD(320)
	QUAD(352)
	EXPAND(192, Y5, Y6, Y3, Y4)
	QUAD(384)
	QUAD(416)
	EXPAND(224, Y6, Y3, Y4, Y5)
	QUAD(448)
	QUAD(480)
	ADD
	KEEP
	EXPAND(256, Y3, Y4, Y5, Y6)
	QUAD(16)
	QUAD(48)
	EXPAND(288, Y4, Y5, Y6, Y3)
	QUAD(80)
	QUAD(112)
	EXPAND(320, Y5, Y6, Y3, Y4)
	QUAD(144)
	QUAD(176)
	EXPAND(352, Y6, Y3, Y4, Y5)
	QUAD(208)
	QUAD(240)
	PUT(384, Y3)
	QUAD(272)
	QUAD(304)
	PUT(416, Y4)
	QUAD(336)
	QUAD(368)
	PUT(448, Y5)
	QUAD(400)
	QUAD(432)
	PUT(480, Y6)
	QUAD(464)
	QUAD(496)
	ADD
	XCHGQ BX, CX
	CMPQ  DX, SI
	JNE   loop

last:
	KEEP
	QUAD(0)
	QUAD(32)
	QUAD(64)
	QUAD(96)
	QUAD(128)
	QUAD(160)
	QUAD(192)
	QUAD(224)
	QUAD(256)
	QUAD(288)
	QUAD(320)
	QUAD(352)
	QUAD(384)
	QUAD(416)
	QUAD(448)
	QUAD(480)
	ADD
	KEEP
	QUAD(16)
	QUAD(48)
	QUAD(80)
	QUAD(112)
	QUAD(144)
	QUAD(176)
	QUAD(208)
	QUAD(240)
	QUAD(272)
	QUAD(304)
	QUAD(336)
	QUAD(368)
	QUAD(400)
	QUAD(432)
	QUAD(464)
	QUAD(496)
	ADD
	VZEROUPPER
	LEAVE

done:
	RET

// func features() (ebx7 uint32)
TEXT ·features(SB), NOSPLIT, $0-4
	XORL AX, AX
	CPUID
	XORL R9, R9
	CMPL AX, $7
	JLT  old
	MOVL $7, AX
	XORL CX, CX
	CPUID
	MOVL BX, R9

old:
	MOVL R9, ebx7+0(FP)
	RET
