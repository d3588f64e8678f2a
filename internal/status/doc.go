// Package status shows how a daemon is doing: as one JSON object on a unix socket, as metrics and health
// over HTTP. It is given immutable snapshots and counted events, and does not know how they are made.
//
// Whoever asks can never hold the daemon up: an answer is the last snapshot that was published, connections
// are few, and those that are slow are ended.
package status

//go:generate go test -run TestMetricsPage -update .
