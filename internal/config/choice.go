package config

import (
	"fmt"
	"slices"
	"strings"
)

// Source is how changes below a root are noticed.
type Source string

// The sources.
const (
	SourceAuto    Source = "auto" // ask the file system
	SourceInotify Source = "inotify"
	SourcePoll    Source = "poll"
)

// UnmarshalText accepts the names of the sources.
func (s *Source) UnmarshalText(text []byte) error {
	return choose(s, text, SourceAuto, SourceInotify, SourcePoll)
}

// Preset is how the files of a run's config become params.
type Preset string

// The presets.
const (
	PresetPtychoPINN Preset = "ptychopinn"
	PresetNone       Preset = "none" // the merged tree as it is
)

// UnmarshalText accepts the names of the presets.
func (p *Preset) UnmarshalText(text []byte) error {
	return choose(p, text, PresetPtychoPINN, PresetNone)
}

// Keep is what of a checkpoint is archived.
type Keep string

// The parts of a checkpoint.
const (
	KeepStateDict Keep = "state_dict"
	KeepVerbatim  Keep = "verbatim" // the file byte for byte
)

// UnmarshalText accepts the names of the parts.
func (k *Keep) UnmarshalText(text []byte) error {
	return choose(k, text, KeepStateDict, KeepVerbatim)
}

// Imports is what happens to a checkpoint whose pickle imports more than tensors need.
type Imports string

// The verdicts.
const (
	ImportsRefuse Imports = "refuse"
	ImportsWarn   Imports = "warn"
)

// UnmarshalText accepts the names of the verdicts.
func (i *Imports) UnmarshalText(text []byte) error {
	return choose(i, text, ImportsRefuse, ImportsWarn)
}

// Tracked is what happens to a stray that git tracks.
type Tracked string

// The ways to treat it.
const (
	TrackedSkip  Tracked = "skip"   // it is left alone
	TrackedGitRm Tracked = "git-rm" // it is removed from the index after the move
)

// UnmarshalText accepts the names of the ways.
func (t *Tracked) UnmarshalText(text []byte) error {
	return choose(t, text, TrackedSkip, TrackedGitRm)
}

// choiceError says that a text is none of the choices.
type choiceError struct {
	found   string
	choices []string
}

func (e *choiceError) Error() string {
	return fmt.Sprintf("found %q, expected %s", e.found, oneOf(e.choices))
}

func choose[T ~string](into *T, text []byte, choices ...T) error {
	if slices.Contains(choices, T(text)) {
		*into = T(text)
		return nil
	}
	refused := &choiceError{found: string(text)}
	for _, choice := range choices {
		refused.choices = append(refused.choices, string(choice))
	}
	return refused
}

// oneOf lists names for people: "a", "b" or "c".
func oneOf(names []string) string {
	var list strings.Builder
	for i, name := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			list.WriteString(" or ")
		default:
			list.WriteString(", ")
		}
		fmt.Fprintf(&list, "%q", name)
	}
	return list.String()
}
