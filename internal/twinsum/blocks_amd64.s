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

// Four rounds take four words of the schedule from X0, with the constants added, which LOAD takes from the block and NEXT
// from the schedule. FIRST are two of them, for both states (X1, X2) and (X11, X12), SECOND the other two.
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
	MOVQ a+0(FP), DI
	MOVQ b+8(FP), R8
	MOVQ data_base+16(FP), SI
	MOVQ data_len+24(FP), DX
	SHRQ $6, DX
	SHLQ $6, DX
	JEQ  done
	ADDQ SI, DX

	// the first state in X1 and X2, the second in X11 and X12
	VMOVDQU (DI), X1
	VMOVDQU 16(DI), X2
	PSHUFD  $0xb1, X1, X1
	PSHUFD  $0x1b, X2, X2
	VMOVDQA X1, X7
	PALIGNR $0x08, X2, X1
	PBLENDW $0xf0, X7, X2
	VMOVDQU (R8), X11
	VMOVDQU 16(R8), X12
	PSHUFD  $0xb1, X11, X11
	PSHUFD  $0x1b, X12, X12
	VMOVDQA X11, X7
	PALIGNR $0x08, X12, X11
	PBLENDW $0xf0, X7, X12
	VMOVDQU flip<>+0(SB), X8
	LEAQ    k<>+0(SB), AX

loop:
	// What another core wrote comes in time, and so does the next page, which the processor does not fetch by itself.
	PREFETCHT0 1024(SI)

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

	// write the states back in the correct order
	PSHUFD  $0x1b, X1, X1
	PSHUFD  $0xb1, X2, X2
	VMOVDQA X1, X7
	PBLENDW $0xf0, X2, X1
	PALIGNR $0x08, X7, X2
	VMOVDQU X1, (DI)
	VMOVDQU X2, 16(DI)
	PSHUFD  $0x1b, X11, X11
	PSHUFD  $0xb1, X12, X12
	VMOVDQA X11, X7
	PBLENDW $0xf0, X12, X11
	PALIGNR $0x08, X7, X12
	VMOVDQU X11, (R8)
	VMOVDQU X12, 16(R8)

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
