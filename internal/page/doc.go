// Package page shows a daemon and its bundles to people with a browser. It reads two things: the snapshot that
// the daemon published last, and the artifact directory through package shelf. It changes nothing, and whoever
// looks can never hold the daemon up: what is live is rendered once a second for everybody, readers of the
// artifact directory are few and are not waited for when its file system hangs, and clients that are slow are
// dropped.
//
// Everything works without JavaScript, which only puts newer parts of the front page in place of older ones. All
// links are relative and at one depth, so the page can lie below any path of a reverse proxy. Texts come from
// outside (names of files, params, reasons): html/template escapes them, and what could hide or reorder text is
// written as an escape.
package page
