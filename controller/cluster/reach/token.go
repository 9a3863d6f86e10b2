package reach

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/schemas"
)

// Audience is what tokens are made for, besides the API server. An API takes those for
// either, unless it is told otherwise: see package api/access, whose audience it is too.
const Audience = "self-scaling"

// errSeen ends a request that is not to be sent.
var errSeen = errors.New("seen")

type look func(*http.Request)

func (l look) RoundTrip(r *http.Request) (*http.Response, error) {
	l(r)
	return nil, errSeen
}

// Bearer returns the token that a kubeconfig's user has, also where a program of the
// cluster's provider makes it, "" where the user has none: many have a client
// certificate, which only the API server can check. Nothing is sent.
func Bearer(ctx context.Context, config *rest.Config) (string, error) {
	token := ""
	transport, err := rest.HTTPWrappersForConfig(config, look(func(r *http.Request) {
		scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimSpace(value)
		}
	}))
	if err != nil {
		return "", schemas.Errorf(schemas.CodeInvalidConfig, "credentials of the kubeconfig: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://localhost/", nil)
	if err != nil {
		return "", schemas.WithCode(schemas.CodeInternal, err)
	}
	if _, err := transport.RoundTrip(r); err != nil && !errors.Is(err, errSeen) {
		return "", schemas.Errorf(schemas.CodeInvalidConfig, "credentials of the kubeconfig: %w", err)
	}
	return token, nil
}

// lifetime is how long a token that is made here is good for, in seconds. Ten minutes
// is the least that an API server grants.
const lifetime = 600

// AccountToken makes a token for a service account, good for the API server and for
// [Audience], since an API may ask for either.
func AccountToken(ctx context.Context, client kubernetes.Interface, namespace, name string) (string, error) {
	token, err := request(ctx, client, namespace, name, nil)
	if err != nil {
		return "", err
	}
	audiences := audiencesOf(token)
	if len(audiences) == 0 || slices.Contains(audiences, Audience) {
		return token, nil
	}
	return request(ctx, client, namespace, name, append(audiences, Audience))
}

func request(ctx context.Context, client kubernetes.Interface, namespace, name string, audiences []string) (string, error) {
	seconds := int64(lifetime)
	made, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", cluster.Error("make a token for service account "+namespace+"/"+name, err)
	}
	return made.Status.Token, nil
}

// audiencesOf reads what a token is made for, without checking it; none where it is not
// of the usual form.
func audiencesOf(token string) []string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var claims struct {
		Aud []string `json:"aud"`
	}
	if json.Unmarshal(data, &claims) != nil {
		return nil
	}
	return claims.Aud
}
