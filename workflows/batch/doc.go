// Package batch runs pipelines as plain Kubernetes Jobs, where there is no Argo: the
// same steps on the same store with the same end.
//
// A run is a ConfigMap, whose name follows from the run-id: it holds what was asked
// for and the run's record. A step is a Job that the ConfigMap owns; a step that fans
// out is an Indexed Job, one index a shard. All of it lives in the cluster, so that
// [Submitter.Submit] and the other methods may be called in any process, and
// [Submitter.Run], which starts the Jobs that are due and writes the records, goes on
// in the next process where it was cut off in the last. Run is for one process at a
// time: the one that leads.
//
// # What becomes of a step
//
// The Job's podFailurePolicy tries a pod again after exit code 75 and after a
// disruption, such as a drained node; any other exit code fails the step or, of a
// fan-out, the shard alone. What the steps before it made is in the store, and so is
// the list of shards: [Config.Shards] reads it. Stopping suspends the Jobs, which ends
// their pods.
package batch
