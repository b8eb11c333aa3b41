//! Keys that Kong and decK know and the observer passes over, by the place where they stand (Kong 0.14 to 3.9).

/// On every entity.
pub const ENTITY: &[&str] = &[
    "_comment",
    "_ignore",
    "id",
    "created_at",
    "updated_at",
    "tags",
    "ws_id",
    "plugins",
    "filter_chains",
];

pub const SERVICE: &[&str] = &[
    "retries",
    "connect_timeout",
    "write_timeout",
    "read_timeout",
    "client_certificate",
    "tls_verify",
    "tls_verify_depth",
    "tls_sans",
    "ca_certificates",
    "degraphql_routes",
    "graphql_ratelimiting_cost_decoration",
    "document_objects",
];

pub const ROUTE: &[&str] = &[
    "https_redirect_status_code",
    "request_buffering",
    "response_buffering",
    "expression",
    "priority",
];

pub const UPSTREAM: &[&str] = &[
    "algorithm",
    "hash_on",
    "hash_fallback",
    "hash_on_header",
    "hash_fallback_header",
    "hash_on_cookie",
    "hash_on_cookie_path",
    "hash_on_query_arg",
    "hash_fallback_query_arg",
    "hash_on_uri_capture",
    "hash_fallback_uri_capture",
    "slots",
    "healthchecks",
    "client_certificate",
    "use_srv_name",
    "sticky_sessions_cookie",
    "sticky_sessions_cookie_path",
];

pub const TARGET: &[&str] = &["failover"];

/// What the file says of itself; those with decK's meaning only included.
pub const DOCUMENT: &[&str] = &[
    "_transform",
    "_comment",
    "_ignore",
    "_info",
    "_konnect",
    "_workspace",
    "_plugin_configs",
];

/// Entities of Kong itself.
pub const ENTITIES: &[&str] = &[
    "ca_certificates",
    "certificates",
    "clustering_data_planes",
    "consumers",
    "filter_chains",
    "key_sets",
    "keys",
    "parameters",
    "plugins",
    "snis",
    "tags",
    "vaults",
    "workspaces",
];

/// Entities of the plugins that come with Kong and Kong Enterprise.
pub const PLUGIN_ENTITIES: &[&str] = &[
    "acls",
    "acme_storage",
    "basicauth_credentials",
    "consumer_group_consumers",
    "consumer_group_plugins",
    "consumer_groups",
    "custom_plugins",
    "degraphql_routes",
    "document_objects",
    "event_hooks",
    "files",
    "graphql_ratelimiting_advanced_cost_decoration",
    "hmacauth_credentials",
    "jwt_secrets",
    "jwt_signer_jwks",
    "keyauth_credentials",
    "keyauth_enc_credentials",
    "licenses",
    "mtls_auth_credentials",
    "oauth2_authorization_codes",
    "oauth2_credentials",
    "oauth2_tokens",
    "oic_issuers",
    "oic_jwks",
    "partials",
    "rbac_endpoint_permissions",
    "rbac_role_endpoints",
    "rbac_role_entities",
    "rbac_roles",
    "rbac_users",
    "service_packages",
    "session_metadatas",
    "sessions",
];
