package api

// Routes returns each route as "GET /v1/runs/{id}", and the right that it needs as
// "get runs", "" for none.
func (s *Server) Routes() map[string]string {
	out := map[string]string{}
	for _, r := range s.routes {
		right := ""
		if r.resource != "" {
			right = r.verb + " " + r.resource
		}
		out[r.method+" "+r.pattern] = right
	}
	return out
}
