package pattern

import (
	"cmp"
	"strings"
)

// CompareNatural orders digits by the number that they write. Names that differ only in leading
// zeros are ordered by their bytes, so the order is total.
func CompareNatural(a, b string) int {
	restA, restB := a, b
	for restA != "" && restB != "" {
		numberA, numberB := leadingDigits(restA), leadingDigits(restB)
		if numberA == "" || numberB == "" {
			if restA[0] != restB[0] {
				return cmp.Compare(restA[0], restB[0])
			}
			restA, restB = restA[1:], restB[1:]
			continue
		}
		if c := compareNumbers(numberA, numberB); c != 0 {
			return c
		}
		restA, restB = restA[len(numberA):], restB[len(numberB):]
	}
	if c := cmp.Compare(len(restA), len(restB)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func leadingDigits(s string) string {
	end := 0
	for end < len(s) && '0' <= s[end] && s[end] <= '9' {
		end++
	}
	return s[:end]
}
