package snapshot

import (
	"math"
	"math/big"
	"regexp"
	"strings"
)

// The words and patterns are those of PyYAML's lib/yaml/resolver.py (YAML 1.1). Floats need no dot
// before an exponent, nor a sign in it, as in OmegaConf's loader (omegaconf/_utils.py); 0o is YAML 1.2's octal.
var (
	yamlWords = map[string]any{
		"": nil, "~": nil, "null": nil, "Null": nil, "NULL": nil,
		"true": true, "True": true, "TRUE": true, "false": false, "False": false, "FALSE": false,
		"yes": true, "Yes": true, "YES": true, "no": false, "No": false, "NO": false,
		"on": true, "On": true, "ON": true, "off": false, "Off": false, "OFF": false,
		".nan": math.NaN(), ".NaN": math.NaN(), ".NAN": math.NaN(),
		".inf": math.Inf(1), ".Inf": math.Inf(1), ".INF": math.Inf(1),
		"+.inf": math.Inf(1), "+.Inf": math.Inf(1), "+.INF": math.Inf(1),
		"-.inf": math.Inf(-1), "-.Inf": math.Inf(-1), "-.INF": math.Inf(-1),
	}
	yamlFloat = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?` +
		`|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+` +
		`|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?` +
		`|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*)$`)
	yamlInt = regexp.MustCompile(`^[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*(?::[0-5]?[0-9])*)$`)
)

// resolveScalar returns the value of a plain scalar; a string when it is nothing else.
func resolveScalar(text string) (any, error) {
	if value, ok := yamlWords[text]; ok {
		return value, nil
	}
	if !strings.ContainsRune("-+.0123456789", rune(text[0])) {
		return text, nil
	}
	switch {
	case yamlFloat.MatchString(text):
		return resolveFloat(strings.ReplaceAll(text, "_", "")), nil
	case yamlInt.MatchString(text):
		return resolveInt(text)
	}
	return text, nil
}

func resolveFloat(digits string) float64 {
	if !strings.Contains(digits, ":") {
		return parseFloat(digits)
	}
	magnitude, negative := cutSign(digits)
	sum := 0.0
	for part := range strings.SplitSeq(magnitude, ":") {
		sum = sum*60 + parseFloat(part)
	}
	if negative {
		return -sum
	}
	return sum
}

func resolveInt(text string) (any, error) {
	if len(text) > maxDigits {
		return nil, errTooLongInt
	}
	digits, negative := cutSign(strings.ReplaceAll(text, "_", ""))
	magnitude, ok := magnitudeOf(digits)
	if !ok {
		return text, nil
	}
	if negative {
		magnitude.Neg(magnitude)
	}
	if magnitude.IsInt64() {
		return magnitude.Int64(), nil
	}
	return magnitude, nil
}

func magnitudeOf(digits string) (*big.Int, bool) {
	value := new(big.Int)
	switch {
	case strings.Contains(digits, ":"):
		return sexagesimal(digits), true
	case len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '7':
		return value.SetString(digits[1:], 8)
	}
	return value.SetString(digits, 0)
}

// sexagesimal reads 1:30 as 90, as YAML 1.1 does.
func sexagesimal(digits string) *big.Int {
	sum, part, base := new(big.Int), new(big.Int), big.NewInt(60)
	for text := range strings.SplitSeq(digits, ":") {
		part.SetString(text, 10)
		sum.Mul(sum, base).Add(sum, part)
	}
	return sum
}

func cutSign(text string) (magnitude string, negative bool) {
	if magnitude, negative = strings.CutPrefix(text, "-"); negative {
		return magnitude, true
	}
	return strings.TrimPrefix(text, "+"), false
}
