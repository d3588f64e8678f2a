// Package bucket publishes bundles into a bucket that any number of hosts share, and reads them from there. There
// is no coordinator: a store that makes an object only when there is none of its name is all that is needed.
//
//	<prefix>/names/<place>.json                    published; one small object, made last, never replaced
//	<prefix>/data/<place>/<D>/wts.h5.zip           D is the SHA-256 of the archive
//	<prefix>/data/<place>/<D>/<S>/SHA256SUMS, …    S is the SHA-256 of SHA256SUMS; hosts and times are in these
//	<prefix>/tombs/<place>.json                    pruned; keeps the bundle from coming back
//	<prefix>/probe/<random>                        of the probe, which deletes it
//
// A place is <watch>/<key>, as below the artifact directory. Data without a name does not exist for readers. The
// archive is deterministic, so hosts that bundle the same sources write the same bytes to the same keys, and
// other bytes never get to the same key; of two names with other digests the store lets one win, and the loser
// learns of it by reading.
package bucket
