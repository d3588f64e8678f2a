// Package fault tests the program as a whole against what the world does to it: kills at every system
// call that changes something, failing calls, full disks, files that change or vanish while they are
// read, trainers that crash, and other instances at work. docs/reliability.md tells what was found.
package fault
