package names

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIndex(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 1000} {
		name := func(place int) string { return fmt.Sprint("name ", place) }
		x, twice := NewIndex(n, name)
		require.Equal(t, -1, twice)
		for place := range n {
			require.Equal(t, place, x.Find(name(place), name))
		}
		require.Equal(t, -1, x.Find("another", name))
	}
	name := func(place int) string { return fmt.Sprint(place % 7) }
	x, twice := NewIndex(10, name)
	require.Equal(t, 7, twice)
	require.Equal(t, 2, x.Find("2", name))
	require.Equal(t, -1, Index{}.Find("2", name))
}

func TestTextsStayAsTheyAre(t *testing.T) {
	var texts Texts
	var kept, want []string
	for i := range 3000 {
		text := []byte(strings.Repeat(fmt.Sprint(i), i%200))
		want = append(want, string(text))
		kept = append(kept, texts.Keep(text))
		clear(text)
	}
	require.Equal(t, want, kept)
}

func TestTextsAreKeptTogether(t *testing.T) {
	var texts Texts
	name := []byte("layers.12345.weight")
	require.Less(t, testing.AllocsPerRun(10_000, func() { texts.Keep(name) }), 1.0)
}
