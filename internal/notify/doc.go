// Package notify tells commands and webhooks what happens. Each target has a queue of its own and a goroutine
// that delivers one message after the other; whoever has something to tell never waits.
//
// Messages are in memory only. What is queued when the process dies is lost, and what was delivered without the
// receiver's answer coming back is delivered again under the same id: see docs/notify.md for what is promised.
package notify
