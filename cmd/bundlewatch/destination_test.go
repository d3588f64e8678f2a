package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

func TestDestinationText(t *testing.T) {
	at := time.Now()
	clock := at.Local().Format("15:04:05")
	require.Equal(t, "\noci lab: registry.example/models\n  0 bundles sent since the start (0 B), none waits\n",
		destinationText(&status.Destination{Name: "lab", Kind: "oci", Address: "registry.example/models", Listed: true}))
	require.Equal(t, "\ns3 lab: s3://b\n  not probed yet\n  0 bundles sent since the start (0 B), none waits\n",
		destinationText(&status.Destination{Name: "lab", Kind: "s3", Address: "s3://b", Listed: true}))
	require.Equal(t, "\ns3 lab: s3://b\n  class C, probed "+clock+", REFUSED: it does x; it does y\n  0 bundles sent since the start (0 B), none waits\n",
		destinationText(&status.Destination{Name: "lab", Kind: "s3", Address: "s3://b", Listed: true,
			Probe: &status.Probe{Class: status.ClassC, At: at, Lacks: []string{"it does x", "it does y"}, Refused: true}}))
	require.Equal(t, "\noci lab: a\"b\n"+
		"  3 bundles sent since the start (2.0 KiB), not every bundle was looked at yet, 7 to ask for, 2 waiting (4.0 KiB), the oldest since "+clock+": w r/1, 1.0 KiB/s, ETA 3s\n"+
		"    sending   w r/2: 1.0 KiB of 3.0 KiB, 33%\n"+
		"  FAILS since "+clock+", next attempt "+clock+": \"down\\n\"\n"+
		"  1 conflict, 2 refused, 1 of them damaged here; looked at again every hour\n"+
		"    conflict  w r/3: taken\n"+
		"    refused   w r/4: \"\\x1b[2J\"\n"+
		"    damaged   w r/5: cut off\n",
		destinationText(&status.Destination{Name: "lab", Kind: "oci", Address: "a\"b", Sent: 3, SentBytes: 2048, Unchecked: 7, Pending: 2, PendingBytes: 4096,
			Oldest: &status.Unsent{Watch: "w", Key: "r/1", Published: at}, Sending: []status.Sending{{Watch: "w", Key: "r/2", Bytes: 1024, Total: 3072}},
			Rate: 1024, ETA: 3, Error: "down\n", Since: &at, Retry: &at, Conflicts: 1, Refused: 2, Damaged: 1, Refusals: []status.Unsendable{
				{Watch: "w", Key: "r/3", Conflict: true, Reason: "taken"}, {Watch: "w", Key: "r/4", Reason: "\x1b[2J"},
				{Watch: "w", Key: "r/5", Damaged: true, Reason: "cut off"}}}))
}
