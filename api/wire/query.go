package wire

import (
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// NoNamespace stands in a path where there is no namespace.
const NoNamespace = "-"

// ComponentName are the parameters of a path that names a component whose name only
// one namespace has.
type ComponentName struct {
	Service   string `path:"service" maxLength:"63"`
	Component string `path:"component" maxLength:"63"`
}

// ComponentPath are the parameters of a path that names a component.
type ComponentPath struct {
	Namespace string `path:"namespace" maxLength:"63" doc:"- where there is no namespace"`
	ComponentName
}

// ServicePath are the parameters of a path that names a service.
type ServicePath struct {
	Namespace string `path:"namespace" maxLength:"63" doc:"- where there is no namespace"`
	Service   string `path:"service" maxLength:"63"`
}

// Page are the parameters of everything that comes in pages.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"Entries on a page, at most"`
	Cursor string `query:"cursor" maxLength:"1024" doc:"The member next of the page before"`
}

// Conditional are the headers by which a caller says what it has.
type Conditional struct {
	IfNoneMatch string `header:"If-None-Match" doc:"ETag of what the caller has"`
}

// OfResource chooses a resource.
type OfResource struct {
	Resource schemas.Resource `query:"resource" enum:"cpu,memory" default:"cpu"`
}

// Stretch chooses a stretch of time.
type Stretch struct {
	From time.Time `query:"from" doc:"Start of the first bucket; a day before to by default"`
	To   time.Time `query:"to" doc:"End of the last bucket; now by default. At most 31 days after from"`
}
