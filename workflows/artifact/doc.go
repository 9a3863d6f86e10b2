// Package artifact keeps the objects that one step writes and a later one reads:
// immutable data files, the manifests that commit them, and the heads that say
// what is current. It is the only memory that the steps of a pipeline share.
//
// Most programs call [Open] with the URL they were given and the drivers they
// link, and then:
//
//   - to read what is current, [Store.Latest] or, to fall back over damaged data
//     too, [Store.LatestValid]; then [Store.GetFile] for each file of the head's
//     manifest;
//   - to write, [Store.PutFile] for each file, then [Store.CommitManifest] for what
//     the step has made, and, where it becomes current, [Store.Advance].
//
// # Keys
//
// Package schemas makes every key:
//
//	data/<kind>/<day>/<sha256>.<ext>           a data file
//	runs/<run>/<step>/<shard>/manifest.json    what one step of one run made for one shard
//	heads/<pipeline>/<number, 20 digits>.json  what was current, and the highest number is
//	probe/<random>/...                         the probe's own, deleted again
//
// Nothing is ever changed under any of them. A data file's key holds its hash, so
// that every writer of a key writes the same bytes. Manifests and heads are
// created if absent (If-None-Match: *), which one of several writers does.
//
// Manifests and heads are one line of JSON that ends with its own sum:
//
//	{"format":1,...,"sum":"<64 hexadecimal digits>"}
//
// The sum is the SHA-256 of the line without its line feed and without
// ,"sum":"...", so that a change of any bit shows. The sha256 by which a manifest
// names its inputs and its files is that of the whole object, as sha256sum prints
// it.
//
// # How a step commits
//
//  1. If its manifest stands already, the step is done. It was made from what was
//     current then; made again, it could come from newer inputs.
//  2. It stores its data files. Nothing refers to them yet.
//  3. It commits the manifest that names them. From here on they count. Where
//     another attempt of the same step was faster with other content, [ErrConflict]
//     comes with that attempt's manifest, which is as good.
//  4. Where the result becomes current, it advances a pipeline: reads the newest
//     head, builds the next one upon it and creates it under the next number. If
//     the number is taken, it begins this step anew from the head that has it.
//
// Everything that is written depends on the run and its inputs alone, and a run
// is known by its id: a manifest's key holds it, and a head names the 95 runs
// before its own. So any step may be stopped at any moment and begun anew, any
// number of times and by several processes at once, and what it leaves is the
// same, byte for byte.
//
// # What a reader sees
//
//	what happens                                       what a reader sees
//	a writer is killed while it stores data files      nothing: no manifest names them; a sweep removes
//	                                                   them after two days, unless the run is begun anew
//	... before or during its manifest's creation       nothing, or the whole manifest; never half of one
//	... between manifest and head                      the step's result, and the head before it as current
//	... before or during its head's creation           the head before it, or the whole new head
//	a write has its effect and its answer is lost      the object; the writer reads it back and goes on
//	two runs advance a pipeline at once                both heads, one after the other, the second built
//	                                                   upon the first
//	a late run comes after a newer one ([Monotonic])   the newer one's head; the late run is [Superseded]
//	a head is damaged                                  the valid head with the next lower number;
//	                                                   [Options.OnInvalidHead] is told
//	a data file is damaged or lost                     the same, for readers that verify ([Store.LatestValid]);
//	                                                   storing the same content again mends the file
//	a run's manifest is damaged                        [ErrCorrupt]; that run cannot be repeated, the next can
//	a head has the format of a newer program           an error, and no older head in its place: to go on from
//	                                                   there would undo what the newer program has done
//	the store does not answer                          an error with CodeUnavailable, and no older head in
//	                                                   its place
//	the disk or the store is full                      what was there; the writer has an error with
//	                                                   CodeUnavailable and nothing of the object is left
//	a sweep is stopped half-way                        no head without its files: heads go before files
//
// One case is left. A sweep deletes a file that nothing refers to and that is
// older than two days; if in the moment between its last look at the file's age
// and the deletion a writer stores the same content again, the writer's manifest
// names a file that is gone. A reader that verifies falls back over it, and the
// next run stores the file anew.
//
// # What each driver guarantees
//
//	            one creator wins      durable when a write returns      shared by
//	membucket   always                never                             one process
//	filebucket  by link(2)            against a crash of the machine:   processes on one machine, or on a
//	                                  file and folders are synced       network file system that has link
//	s3bucket    by If-None-Match: *,  as the server promises            everybody who reaches the server
//	            which [Store.Probe]
//	            proves at the start
//
// The suite in artifacttest holds each of them to the contract of [Bucket], and
// test/minio runs it on a real server.
package artifact
