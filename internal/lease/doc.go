// Package lease asks the kernel whether a file is open elsewhere, by taking a lease on it and giving it back.
package lease
