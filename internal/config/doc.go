// Package config reads bundlewatch.toml, fills in defaults and checks it.
//
// Every problem of a file is found in one go, each with its line, what was found, what was expected
// and the nearest known key; see [Problems]. A [Config] that [Load] returns needs no further checks:
// paths are absolute, patterns are compiled, durations are above zero. It does not say that a root
// exists, because roots may appear later.
//
// Keys are case-sensitive. All keys, their defaults and meanings are in one table in keys.go, from
// which docs/configuration.md is made.
package config

//go:generate go test -run "TestReferencePageIsUpToDate|TestPageOfThePageHasTheKeys" -update .
