"""Django's settings, read from the environment (see env.py for every variable)."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from csp.constants import NONE, SELF
from psycopg.conninfo import conninfo_to_dict

from privatune import logs
from privatune.env import Missing, data_dir, read, read_choice, read_if_known, read_int, read_list

ROOT = Path(__file__).resolve().parents[2]
DATA = data_dir()

# Empty outside the web: Django then refuses to sign anything there.
SECRET_KEY = read_if_known("PRIVATUNE_SECRET_KEY")
DEBUG = False
ALLOWED_HOSTS = read_list("PRIVATUNE_ALLOWED_HOSTS")
API_ORIGINS = read_list("PRIVATUNE_API_ORIGINS")
CSRF_TRUSTED_ORIGINS = read_list("PRIVATUNE_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "privatune",
    "tenants",
    "privatune.people.apps.OperatorAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "csp",
    "django_htmx",
    "django_structlog",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "finetune",
]

MIDDLEWARE = [
    "privatune.middleware.RequestMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "privatune.middleware.Language",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "privatune.middleware.ApiErrors",
]
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True  # privatune.middleware put it there

ROOT_URLCONF = "privatune.urls"
ASGI_APPLICATION = "privatune.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "platform" / "privatune" / "portal" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- PostgreSQL: three roles of one database (docs/explanation/tenancy.md) ---------------------


# A server that moved or hangs is noticed in seconds, where TCP alone would wait for a quarter of an
# hour; an address that says otherwise (`?connect_timeout=…`) is obeyed.
_NOTICING = {
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def _database(url: str) -> dict[str, object]:
    """libpq's own reading of the URL, so that every form it takes (sockets, sslmode) works."""
    info = _NOTICING | conninfo_to_dict(url)
    named = {key: info.pop(key, "") for key in ("dbname", "user", "password", "host", "port")}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": named["dbname"],
        "USER": named["user"],
        "PASSWORD": named["password"],
        "HOST": named["host"],
        "PORT": named["port"],
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": info,
    }


DATABASES = {
    "default": _database(read("DATABASE_URL")) | {"CONN_MAX_AGE": 60},
    # A process that is not given these roles has the app's rights under their names: migrating or
    # administering then fails in the database, as it should.
    "owner": _database(read_if_known("DATABASE_OWNER_URL") or read("DATABASE_URL")),
    "operator": _database(read_if_known("DATABASE_OPERATOR_URL") or read("DATABASE_URL")),
}
OPERATOR_ROLE = read("DATABASE_OPERATOR_ROLE")
OPERATOR_ROOMS = bool(read_if_known("DATABASE_OPERATOR_URL"))  # whether `/operator/` is served
DATABASE_ROUTERS = ["tenants.database.router.OwnerMigrates"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- People ------------------------------------------------------------------------------------

AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = [
    "privatune.people.backend.PasswordBackend",
    # Never asked for a password, since the first one's refusal is final; older sessions name it.
    "allauth.account.auth_backends.AuthenticationBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_ADAPTER = "privatune.people.adapter.People"
ACCOUNT_EMAIL_VERIFICATION = "none"  # accounts are made by an administrator, never by signing up
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # nobody is mailed who has no account
ACCOUNT_RATE_LIMITS = False  # tenants/services/proofs.py counts, over all processes
ACCOUNT_FORMS = {
    "change_password": "privatune.people.forms.CountedChangePassword",
    "reset_password": "privatune.people.forms.OwnAddressReset",
}
MFA_ADAPTER = "privatune.people.second_factor.SecondFactors"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_TOTP_ISSUER = "Privatune"
MFA_TOTP_TOLERANCE = 1  # clocks of telephones are some seconds off
MFA_ALLOW_UNVERIFIED_EMAIL = True  # the account's address is the administrator's or inviter's word
MFA_FORMS = {
    "activate_totp": "privatune.people.forms.UsedUpActivate",
    "authenticate": "privatune.people.forms.CountedAuthenticate",
    "reauthenticate": "privatune.people.forms.CountedReauthenticate",
    "add_webauthn": "privatune.people.forms.AddKey",
    "authenticate_webauthn": "privatune.people.forms.AuthenticateByKey",
    "reauthenticate_webauthn": "privatune.people.forms.ReauthenticateByKey",
}
OIDC_HOSTS = [host.lower() for host in read_list("PRIVATUNE_OIDC_HOSTS")]
TRUSTED_PROXIES = read_list("PRIVATUNE_TRUSTED_PROXIES")
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"

# --- Mail --------------------------------------------------------------------------------------

_mail = urlsplit(read_if_known("PRIVATUNE_MAIL"))
MAIL_SERVER = bool(_mail.hostname)  # without one nothing may try to send: ask this first
EMAIL_HOST = _mail.hostname or ""
EMAIL_PORT = _mail.port or (465 if _mail.scheme == "smtps" else 587)
EMAIL_HOST_USER = unquote(_mail.username or "")
EMAIL_HOST_PASSWORD = unquote(_mail.password or "")
EMAIL_USE_SSL = _mail.scheme == "smtps"
EMAIL_USE_TLS = _mail.scheme == "smtp+tls"
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = read("PRIVATUNE_MAIL_FROM")

# --- Celery: nudges, never truth ---------------------------------------------------------------

BROKER_URL = read_if_known("BROKER_URL") or "memory://"  # a migration nudges nobody
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # the row decides; an unacked message would be redelivered for hours
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_DEFAULT_QUEUE = "io"
CELERY_TASK_ROUTES = {
    "finetune.tasks.run_job": {"queue": "train"},
    "finetune.tasks.rehearse_job": {"queue": "train"},
    "finetune.tasks.make_form": {"queue": "train"},
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
SWEEP_SECONDS = read_int("PRIVATUNE_SWEEP_SECONDS")
CELERY_BEAT_SCHEDULER = "privatune.beat:SteadyScheduler"
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "finetune.tasks.sweep", "schedule": float(SWEEP_SECONDS)},
    "orphans": {"task": "finetune.tasks.remove_orphans", "schedule": 24 * 3600.0},
    "sign-heads": {"task": "finetune.tasks.sign_heads", "schedule": 60.0},
}

# --- Storage, models, runs ---------------------------------------------------------------------

OBJECTS_URL = read("PRIVATUNE_OBJECTS")
MASTER_KEY_URI = read_if_known("PRIVATUNE_MASTER_KEY")
# None where this process must not sign (see env.py); the public half is for everyone.
_signing_key = read_if_known("PRIVATUNE_SIGNING_KEY")
SIGNING_KEY_FILE = Path(_signing_key) if _signing_key else None
SIGNING_PUBLIC_KEY_FILE = Path(read("PRIVATUNE_SIGNING_PUBLIC_KEY"))
MODEL_STORE = Path(read("PRIVATUNE_MODELS"))
WORK_DIR = Path(read("PRIVATUNE_WORK"))
SERVING_SOCKET = Path(read("PRIVATUNE_SERVING_SOCKET"))
LEASE_SECONDS = read_int("PRIVATUNE_LEASE_SECONDS")
HEARTBEAT_SECONDS = read_int("PRIVATUNE_HEARTBEAT_SECONDS")
RUN_ATTEMPTS = read_int("PRIVATUNE_RUN_ATTEMPTS")
SANDBOX = read_choice("PRIVATUNE_SANDBOX", {"require", "bubblewrap", "allow-none"})
STRICT_DETERMINISM = read("PRIVATUNE_STRICT_DETERMINISM") == "1"
MAX_ROLLBACKS = read_int("PRIVATUNE_MAX_ROLLBACKS")
TRAINER_THREADS = int(read("PRIVATUNE_TRAINER_THREADS") or 0) or None
MAX_FILE_BYTES = read_int("PRIVATUNE_MAX_FILE_MB") * 1024 * 1024
CHECK_MEMORY_MB = read_int("PRIVATUNE_CHECK_MEMORY_MB")
CHECK_SECONDS = read_int("PRIVATUNE_CHECK_SECONDS")
CHECKS_AT_ONCE = read_int("PRIVATUNE_CHECKS_AT_ONCE")
JOBS_READ = read_int("PRIVATUNE_JOBS_READ")
BACKUP_DAYS = read_int("PRIVATUNE_BACKUP_DAYS") if read("PRIVATUNE_BACKUP_DAYS") else None
ASK_AGAIN_SECONDS = read_int("PRIVATUNE_ASK_AGAIN_SECONDS")
INFER_MAX_TOKENS = read_int("PRIVATUNE_INFER_MAX_TOKENS")
INFER_MAX_LOGPROBS = read_int("PRIVATUNE_INFER_MAX_LOGPROBS")

# Request bodies: in memory up to this, then in an encrypted spool (privatune/asgi.py).
FILE_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024
FILE_UPLOAD_HANDLERS = ["privatune.uploads.EncryptedUploadHandler"]

# --- What one caller may use: privatune/edge, docs/explanation/limits.md ------------------------

ADDRESS_REQUESTS_PER_MINUTE = read_int("PRIVATUNE_ADDRESS_REQUESTS")
KEY_REQUESTS_PER_MINUTE = read_int("PRIVATUNE_KEY_REQUESTS")
TENANT_REQUESTS_PER_MINUTE = read_int("PRIVATUNE_TENANT_REQUESTS")
REQUESTS_AT_ONCE = 12  # of one caller; fewer than the database pool's connections (asgi.py)
REQUESTS_WAITING = 100
SPOOL_BYTES = read_int("PRIVATUNE_SPOOL_MB") * 1024 * 1024
TENANT_SPOOL_BYTES = read_int("PRIVATUNE_TENANT_SPOOL_MB") * 1024 * 1024
BODY_IDLE_SECONDS = float(read_int("PRIVATUNE_BODY_IDLE_SECONDS"))
BODY_BYTES_PER_SECOND = 16 * 1024
BODY_SECONDS = 3600.0
TENANT_STORAGE_MB = read_int("PRIVATUNE_TENANT_STORAGE_MB")
TENANT_TOKENS_PER_MINUTE = read_int("PRIVATUNE_TENANT_TOKENS")
PERSON_STREAMS = read_int("PRIVATUNE_PERSON_STREAMS")
TENANT_STREAMS = read_int("PRIVATUNE_TENANT_STREAMS")
WEB_PROCESSES = max(1, read_int("PRIVATUNE_WEB_PROCESSES"))
if WEB_PROCESSES > 1 and TENANT_SPOOL_BYTES // WEB_PROCESSES < 2 * MAX_FILE_BYTES:
    raise Missing(
        "PRIVATUNE_TENANT_SPOOL_MB, shared out among PRIVATUNE_WEB_PROCESSES, has no room for one "
        "file of PRIVATUNE_MAX_FILE_MB, which counts twice: raise the first or lower the last."
    )

# --- HTTP --------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "finetune.api.explaining.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Privatune",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {
        "RoleEnum": ["owner", "admin", "engineer", "viewer"],
        "MessageRoleEnum": ["user", "assistant", "system", "developer"],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "finetune.api.own.problem_schema.add_problems",
    ],
}

HTTPS = read("PRIVATUNE_HTTPS") == "1"
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31536000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "privatune.problem_pages.csrf_failure"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}

# --- Languages, static files, logs ---------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
API_SENTENCES = "privatune.portal.speaking.Sentences"  # what the APIs tell in those others
LOCALE_PATHS = [ROOT / "platform" / "privatune" / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = ROOT / "staticfiles"
STATICFILES_DIRS = [
    ROOT / "platform" / "privatune" / "portal" / "static",
    ("vendor/htmx", ROOT / "node_modules" / "htmx.org" / "dist"),
    ("vendor/tabler", ROOT / "node_modules" / "@tabler" / "core" / "dist"),
    ("vendor/uplot", ROOT / "node_modules" / "uplot" / "dist"),
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True  # served from the packages' folders when not collected
WHITENOISE_AUTOREFRESH = False

logs.configure()
LOGGING = logs.to_console(read("PRIVATUNE_LOG_LEVEL"))
