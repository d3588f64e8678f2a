package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVisibleJSONIsTheSameJSON(t *testing.T) {
	raw := "{\n  \"a\": \"\u009b31m\u202e\u007f é日 \U000e0041😀\"\n}"
	shown := visibleJSON(raw)
	require.Equal(t, "{\n  \"a\": \"\\u009b31m\\u202e\\u007f é日 \\udb40\\udc41😀\"\n}", shown)
	var was, is map[string]string
	require.NoError(t, json.Unmarshal([]byte(raw), &was))
	require.NoError(t, json.Unmarshal([]byte(shown), &is))
	require.Equal(t, was, is)
}
