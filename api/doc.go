// Package api is the REST interface: the one that the original had, which its
// clients go on using unchanged, and a modern one beside it.
//
// # The modern interface
//
// Its shapes are in package wire. A component's path is
// {namespace}/{service}/{component}, where the namespace - stands for none, or
// {service}/{component} where only one namespace has it.
//
//	GET    /v1/status                         Status
//	GET    /v1/components                     ComponentList    ?namespace= service= mode= limit= cursor=
//	GET    /v1/components/{component}         Component
//	GET    /v1/policies/{ns}/{service}        ServicePolicy, with ETag
//	PATCH  /v1/policies/{ns}/{service}        merge patch of Settings, with If-Match
//	GET    /v1/policies/{ns}/{service}/{c}    ComponentPolicy, with ETag
//	PATCH  /v1/policies/{ns}/{service}/{c}    merge patch of Settings, with If-Match
//	GET    /v1/forecasts/{component}          Forecast         ?resource=cpu|memory
//	GET    /v1/history/{component}            History          ?from= to=
//	GET    /v1/decisions                      DecisionList     ?namespace= service= component= reason= from= to= limit= cursor=
//	GET    /v1/models                         ModelList        ?number=
//	GET    /v1/models/line                    ModelLine        ?limit= cursor=
//	GET    /v1/accuracy                       Accuracy         ?limit= cursor=
//	GET    /v1/pipelines                      PipelineList
//	POST   /v1/runs                           202 Run, with Location; Idempotency-Key names the run
//	GET    /v1/runs                           RunList          ?pipeline= phase= limit= cursor=
//	GET    /v1/runs/{id}                      Run
//	DELETE /v1/runs/{id}                      202 Run: it is told to stop
//	POST   /v1/runs/{id}/retry                202 Run, with Location: the same again under a new id
//	GET    /v1/runs/{id}/events               text/event-stream: "run" with a Run at each change, the last one done
//	GET    /openapi.json                      OpenAPI 3.1
//
// Errors are problems of RFC 9457.
package api
