{{/* The least that the operator can work with. tests/it/chart/rights.txt lists it right by right, and a test holds the
two together; the tests run the operator with exactly these. */}}

{{/* On what belongs to the whole cluster. */}}
{{- define "portcullis.rules.cluster" -}}
# Where it may be read from, and who may have it. People write these, never the operator.
- apiGroups: [portcullis.dev]
  resources: [connectservers, credentialpolicies]
  verbs: [list, watch]
- apiGroups: [portcullis.dev]
  resources: [connectservers/status, credentialpolicies/status]
  verbs: [patch]
# What admission policies know an operator by: nobody else writes status and AccessProfiles.
- apiGroups: [portcullis.dev]
  resources: [operators]
  verbs: [act]
{{- if .Values.admission.create }}
# Whether the policies are in force that stand guard, and by which the API server vouches for who wrote a request.
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingadmissionpolicies, validatingadmissionpolicybindings]
  resourceNames: {{ include "portcullis.admissionPolicies" . }}
  verbs: [get]
{{- end }}
# Names and labels of namespaces: facts that access rows and policies select by. Only metadata is read.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end -}}

{{/* In the namespaces of requests. */}}
{{- define "portcullis.rules.requests" -}}
# What is asked for. The operator answers in status and never changes a request's spec or metadata.
- apiGroups: [portcullis.dev]
  resources: [credentialrequests]
  verbs: [get, list, watch]
- apiGroups: [portcullis.dev]
  resources: [credentialrequests/status]
  verbs: [patch]
# The Secrets that requests ask for. RBAC cannot select by label, so this allows more than is done:
# list and watch ask only for metadata, and only of those labelled portcullis.dev/managed; get reads the
# Secret of a request's own target, a fallback Secret whose owner allows it, and the Secret with the keys of the
# cache where --cache-keys-secret names one; patch and delete name the UID and resourceVersion that they mean and
# touch only a Secret that the operator can prove to be its own.
- apiGroups: [""]
  resources: [secrets]
  verbs:
  - get     # the target, to compare it with what it should hold
  - list    # what the operator wrote, at start
  - watch   # edits and deletions, to repair them at once
  - create  # a target that is not there; it fails on one that is
  - patch   # a target that is the operator's own
  - delete  # a target whose grant was withdrawn while it was written
# What happened to a request, for kubectl describe.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* In the operator's own namespace, where it keeps its master key and reads tokens and certificate authorities. */}}
{{- define "portcullis.rules.own" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs:
  - get     # the master key, tokens, certificate authorities
  - list    # the same, at start
  - watch   # a rotated token or authority
  - create  # the master key, at the first start; it is never changed. Records of the cache
  - patch   # records of the cache, where it survives a restart
  - delete  # records of the cache that are of no use any more
- apiGroups: [""]
  resources: [configmaps]
  verbs:
  - get     # certificate authorities; the checkpoint of the audit stream
  - list    # certificate authorities, at start
  - watch   # a rotated authority
  - create  # the checkpoint of the audit stream, the first time
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [portcullis-audit]
  verbs: [patch]  # the checkpoint of the audit stream
# Which of several replicas works: the holder of this Lease.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]  # the first time, and where it was deleted
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "portcullis.fullname" . | quote }}]
  verbs: [get, update]
# What each namespace was granted in the past. Nobody else writes these.
- apiGroups: [portcullis.dev]
  resources: [accessprofiles]
  verbs: [create, delete, get, list, update, watch]
# What happened to one of these, for kubectl describe.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* A Role and its binding. Takes the root, namespace, name and rules. */}}
{{- define "portcullis.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name | quote }}
  namespace: {{ .namespace | quote }}
  {{- include "portcullis.meta" (dict "root" .root "component" "operator") | nindent 2 }}
rules:
{{ .rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name | quote }}
  namespace: {{ .namespace | quote }}
  {{- include "portcullis.meta" (dict "root" .root "component" "operator") | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name | quote }}
subjects:
{{ include "portcullis.subjects" .root }}
{{- end -}}

{{- define "portcullis.subjects" -}}
- kind: ServiceAccount
  name: {{ include "portcullis.serviceAccount" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}
