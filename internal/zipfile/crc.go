package zipfile

import "hash/crc32"

// Combine returns the CRC-32 (IEEE) of a followed by b, given the CRCs of both and the length of b
// in bytes. It multiplies by a power of x modulo the CRC polynomial, as zlib's crc32_combine does.
func Combine(a, b uint32, lenB int64) uint32 {
	return multiply(shift(uint64(lenB)), a) ^ b
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

func multiply(a, b uint32) uint32 {
	var product uint32
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		if b&1 == 1 {
			b = b>>1 ^ crc32.IEEE
		} else {
			b >>= 1
		}
	}
	return product
}
