// Package pagecache reads files without changing what the page cache holds: pages that are there already are
// left alone, whoever uses them, and pages that came in by reading are dropped behind the reader.
package pagecache
