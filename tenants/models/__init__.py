from tenants.models.base import TenantForeignKey, TenantOwned
from tenants.models.files import StoredFile, Upload, UploadPart
from tenants.models.identity import ApiKey, Invitation, Membership, Tenant, User
from tenants.models.licences import License, LicenseState, UsageEntry
from tenants.models.proofs import ProofAttempt
from tenants.models.sign_in import SignInProvider
from tenants.models.support import SupportConsent
from tenants.models.trail import AuditEntry, AuditHead, IdempotencyRecord, KeyPrint

__all__ = [
    "ApiKey",
    "AuditEntry",
    "AuditHead",
    "IdempotencyRecord",
    "Invitation",
    "KeyPrint",
    "License",
    "LicenseState",
    "Membership",
    "ProofAttempt",
    "SignInProvider",
    "StoredFile",
    "SupportConsent",
    "Tenant",
    "TenantForeignKey",
    "TenantOwned",
    "Upload",
    "UploadPart",
    "UsageEntry",
    "User",
]
