package api

// The texts of the original's interface, letter by letter as its documentation
// spells them. Each is sent as a bare JSON string. Programs compare them, so that
// none of them is ever corrected.
const (
	msgServicesUpdated = "services managed updates sucessfully"
	msgContentType     = "Content-Type not supported!"
	msgInvalidJSON     = "Invalid JSON"
	msgManagedBoolean  = "Managed services/serviceComponents must be true"

	msgTrainValuesChanged = "Train values changed"
	msgErrorInBody        = "Error in json body"
	msgPositiveNumbers    = "Values must be positive numbers"

	msgTrained          = "Train module executed successfully"
	msgNoComponents     = "Not components to train"
	msgInsufficientData = "Insufficient data"

	msgInferred       = "Infence complete sucessfully"
	msgInferenceError = "Error in execution Inference Module"
)

// Texts of the original that its documentation leaves out, as its programs send
// them.
const (
	msgServicesAdded = "Services added or updated sucesfully"
	msgNotNumbers    = "Values are not numbers"
	msgInferAdded    = "Enablers and components add to infer"
)

// Texts for what the original did not answer for, or answered wrongly.
const (
	msgUnknownNames = "Unknown names: " // and the names; nothing was changed
	msgAmbiguous    = "Several namespaces have a service of this name, give its namespace: "
	msgTrainFailed  = "Error in execution Train Module"
	msgStillRunning = "Still running, see " // and the run's path
	msgUnavailable  = "Not available at the moment"
	msgNotPossible  = "Not possible: " // and the rule that was broken
	statusHealthy   = "healthy"
	statusUnhealthy = "unhealthy"
)
