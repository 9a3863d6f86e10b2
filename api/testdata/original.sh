#!/bin/sh
# A client of the original: its documentation's table of endpoints in curl lines, with
# the payloads and the answers as they are printed there. Each line of output is an
# answer that is not the documented one.
#
#   original.sh http://127.0.0.1:8080 works|empty|young|broken
#
# What is documented for a system that works is asked for with works; with nothing to
# train, empty; before there is enough data, young; and where runs fail, broken.
set -u
base=$1
failed=0

# answers WANT CURL-ARGUMENTS: the status, a blank and the body must match the pattern.
answers() {
	want=$1
	shift
	got=$(curl --silent --show-error --max-time 60 --write-out '\n%{http_code}' "$@" 2>&1)
	status=$(printf '%s\n' "$got" | tail -n 1)
	body=$(printf '%s\n' "$got" | sed '$d' | tr -d '\n')
	case "$status $body" in
	$want) ;;
	*)
		echo "curl $* answers: $status $body, want: $want"
		failed=1
		;;
	esac
}

json='Content-Type: application/json'

case $2 in
works)
	answers '200 {"services":\[{"name":"self-scaling","managed":false*,"serviceComponents":\[{"name":"api","managed":false}\]*' "$base/v1/services"
	answers '200 "services managed updates sucessfully"' -X POST -H "$json" -d '{"services": [{"name": "self-scaling","managed": true,"serviceComponents": [{"name": "api","managed": true}]}]}' "$base/v1/services"
	answers '200 {"services":\[{"name":"self-scaling","managed":true*,"serviceComponents":\[{"name":"api","managed":true}\]*' "$base/v1/services"
	answers '406 "Content-Type not supported!"' -X POST -H 'Content-Type: text/plain' -d '{}' "$base/v1/services"
	answers '406 "Content-Type not supported!"' -X POST -d 'services=self-scaling' "$base/v1/services"
	answers '400 "Invalid JSON"' -X POST -H "$json" -d '{"services": [' "$base/v1/services"
	answers '400 "Managed services/serviceComponents must be true"' -X POST -H "$json" -d '{"services": [{"name": "self-scaling","managed": "yes","serviceComponents": []}]}' "$base/v1/services"

	# Where nobody has set any, ours are the four weeks that the steps look back on.
	answers '200 {"Future_data":"1","History_data":"28"}' "$base/v1/train-values"
	answers '200 "Train values changed"' -X POST -H "$json" -d '{"Future_data": "1", "History_data": "5"}' "$base/v1/train-values"
	answers '200 {"Future_data":"1","History_data":"5"}' "$base/v1/train-values"
	answers '406 "Content-Type not supported!"' -X POST -H 'Content-Type: text/plain' -d '{}' "$base/v1/train-values"
	answers '400 "Error in json body"' -X POST -H "$json" -d '{"Future_data": "1"' "$base/v1/train-values"
	answers '400 "Values must be positive numbers"' -X POST -H "$json" -d '{"Future_data": "-1", "History_data": "5"}' "$base/v1/train-values"

	answers '200 "Train module executed successfully"' "$base/v1/train"
	answers '200 "Infence complete sucessfully"' "$base/v1/inference"
	answers '200 {"component":"self-scaling",*"version":"1.0.0"}' "$base/version"
	answers '200 {"status":"healthy"}' "$base/v1/health"
	answers '200 {*"openapi":"3.0.*' "$base/v1/api-export"
	# The type of an answer is the one that clients look for.
	answers '200 application/json*' --output /dev/null --write-out '%{content_type}\n%{http_code}' "$base/v1/services"
	;;
empty)
	answers '400 "Not components to train"' "$base/v1/train"
	;;
young)
	answers '400 "Insufficient data"' "$base/v1/train"
	;;
broken)
	answers '500 "Error in execution Inference Module"' "$base/v1/inference"
	;;
*)
	echo "$0: the second argument must be works, empty, young or broken, but is $2"
	failed=1
	;;
esac
exit $failed
