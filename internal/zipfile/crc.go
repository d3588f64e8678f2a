package zipfile

import "hash/crc32"

// Combine returns the CRC-32 (IEEE) of a followed by b, given the CRCs of both and the length of b
// in bytes. It multiplies by a power of x modulo the CRC polynomial, as zlib's crc32_combine does.
func Combine(a, b uint32, lenB int64) uint32 {
	s := Sum{CRC32: a}
	s.Add(b, lenB)
	return s.CRC32
}

// Sum is the CRC-32 of bytes of which the CRC-32 and the length of each part are known. What it takes to combine them is remembered
// for some lengths, because those of records repeat.
type Sum struct {
	CRC32   uint32
	lengths [64]int64
	shifts  [64]uint32
}

// Add adds a part.
func (s *Sum) Add(sum uint32, length int64) {
	if length == 0 {
		return
	}
	at := uint64(length) * 0x9e3779b97f4a7c15 >> 58 // spread over the table
	if s.lengths[at] != length {
		s.lengths[at], s.shifts[at] = length, shift(uint64(length))
	}
	s.CRC32 = multiply(s.shifts[at], s.CRC32) ^ sum
}

// powers[k] is x^(2^k) modulo the polynomial, the highest power of x in the lowest bit.
var powers = func() (table [64]uint32) {
	p := uint32(1) << 30
	for k := range table {
		table[k] = p
		p = multiply(p, p)
	}
	return table
}()

// shift returns x^(8n) modulo the polynomial.
func shift(n uint64) uint32 {
	p := uint32(1) << 31
	for k := 3; n > 0; n, k = n>>1, k+1 {
		if n&1 == 1 {
			p = multiply(powers[k], p)
		}
	}
	return p
}

// carried[n] is what the lowest four bits n of a polynomial become when it is multiplied by x^4.
var carried = func() (table [16]uint32) {
	for n := range table {
		p := uint32(n)
		for range 4 {
			p = timesX(p)
		}
		table[n] = p
	}
	return table
}()

func timesX(p uint32) uint32 { return p>>1 ^ crc32.IEEE&-(p&1) }

// multiply goes through a by four bits at a time, from the highest powers of x down.
func multiply(a, b uint32) uint32 {
	var times [16]uint32 // b times four bits
	for bit := 8; bit > 0; bit, b = bit>>1, timesX(b) {
		for n := bit; n < len(times); n = (n + 1) | bit {
			times[n] ^= b
		}
	}
	var product uint32
	for range 8 {
		product = product>>4 ^ carried[product&15] ^ times[a&15]
		a >>= 4
	}
	return product
}
