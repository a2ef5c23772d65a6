"""The operator's rooms: tenants, licences, use, people. Reads through the operator's database role,
which the database itself keeps away from customer content; writes through the same services as
everyone."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from faults import Fault
from tenants.access import belongings_of
from tenants.dates import last_day
from tenants.errors import Invalid
from tenants.limits import FIELDS
from tenants.models import License, LicenseState, SupportConsent, Tenant, UsageEntry, User
from tenants.names import readable as readable_text
from tenants.operator_site import OPERATOR, OperatorAdmin, ReadOnlyAdmin, actor_of, readable
from tenants.rights import BY_DEFAULT, Right
from tenants.services.licences import change_license, issue_license
from tenants.services.tenants import create_tenant


class TenantForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_name(self) -> str:
        try:
            return readable_text(self.cleaned_data["name"], param="name")
        except Invalid:
            raise forms.ValidationError(
                _("Write the name in one line of visible characters.")
            ) from None


@admin.register(Tenant)
class TenantAdmin(OperatorAdmin):
    form = TenantForm
    list_display = ("slug", "name", *FIELDS.values(), "created_at")
    search_fields = ("slug", "name")
    ordering = ("slug",)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Its limits are shown, and set by `privatune tenant limits`; empty: the default."""
        return ("slug", "name", *FIELDS.values()) if obj else ("slug", "name")

    def tenants_of(self, row: Any, *, listed: bool) -> set[UUID]:
        return set() if listed else {row.pk}  # a list of names is nobody's in particular

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        made = create_tenant(slug=obj.slug, name=obj.name, actor=actor_of(request))
        obj.pk = made.pk

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


REFUSED: dict[str, Any] = {
    "license_not_found": _("There is no such licence."),
    "license_revoked": _("A revoked licence cannot change. Issue a new one."),
}


class LicenseForm(forms.ModelForm):  # type: ignore[type-arg]
    tenant = forms.ModelChoiceField(queryset=Tenant._base_manager.none(), label=_("tenant"))
    rights = forms.MultipleChoiceField(
        choices=[(right.value, _(right.label)) for right in Right],
        initial=[right for right in Right if right in BY_DEFAULT],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label=_("rights"),
    )

    class Meta:
        model = License
        fields = (
            "tenant", "model", "rights", "valid_from", "valid_until", "token_budget", "note",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "tenant" in self.fields:
            tenants = readable(Tenant).order_by("slug")
            self.fields["tenant"].queryset = tenants  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any] | None:
        """One licence per model and tenant, said here rather than as a failed save."""
        data = super().clean()
        if data and self.instance._state.adding and data.get("tenant"):
            held = readable(License).filter(tenant_id=data["tenant"].pk, model=data.get("model"))
            if held.exclude(state=LicenseState.REVOKED).exists():
                raise forms.ValidationError(
                    _("This tenant already holds a licence for this model: renew or revoke it.")
                )
        return data

    def validate_unique(self) -> None:
        """Done in clean(): Django's own check would ask the app's role, outside any scope."""


@admin.register(License)
class LicenseAdmin(OperatorAdmin):
    form = LicenseForm
    list_display = ("tenant", "model", "state", "ends", "token_budget", "used")
    list_select_related = ("tenant",)
    list_filter = ("state", "model")
    search_fields = ("model",)
    ordering = ("-created_at",)
    actions = ("suspend", "reactivate", "revoke")

    @admin.display(description=_("last day (UTC)"), ordering="valid_until", empty_value="–")
    def ends(self, obj: License) -> str | None:
        return last_day(obj.valid_until).isoformat() if obj.valid_until else None

    @admin.display(description=_("tokens used"))
    def used(self, obj: License) -> int:
        entries = UsageEntry._base_manager.using(OPERATOR).filter(license_id=obj.pk)
        return sum(entries.values_list("tokens", flat=True))

    @admin.display(description=_("rights"))
    def allowed(self, obj: License) -> str:
        return ", ".join(gettext(Right(each).label) for each in obj.rights)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        rights = "allowed" if obj else "rights"
        return "tenant", "model", rights, "valid_from", "valid_until", "token_budget", "note"

    def get_readonly_fields(
        self, request: HttpRequest, obj: Model | None = None
    ) -> tuple[str, ...]:
        return ("tenant", "model", "allowed", "valid_from", "note") if obj else ()

    def save_model(self, request: HttpRequest, obj: License, form: Any, change: bool) -> None:
        if change:
            change_license(
                tenant_id=obj.tenant_id,
                license_id=obj.pk,
                actor=actor_of(request),
                valid_until=obj.valid_until,
                token_budget=obj.token_budget,
            )
            return
        made = issue_license(
            tenant_id=form.cleaned_data["tenant"].pk,
            model=obj.model,
            actor=actor_of(request),
            rights=frozenset(Right(each) for each in form.cleaned_data["rights"]),
            valid_from=obj.valid_from,
            valid_until=obj.valid_until,
            token_budget=obj.token_budget,
            note=obj.note,
        )
        obj.pk = made.pk

    def _to_state(self, request: HttpRequest, chosen: QuerySet[Any], state: LicenseState) -> None:
        for licence in chosen:
            try:
                change_license(
                    tenant_id=licence.tenant_id,
                    license_id=licence.pk,
                    actor=actor_of(request),
                    state=state,
                )
            except Fault as error:
                told = REFUSED.get(error.code, error)
                self.message_user(request, f"{licence}: {told}", messages.ERROR)

    @admin.action(description=_("Suspend"))
    def suspend(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        self._to_state(request, chosen, LicenseState.SUSPENDED)

    @admin.action(description=_("Reactivate"))
    def reactivate(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        self._to_state(request, chosen, LicenseState.ACTIVE)

    @admin.action(description=_("Revoke for good"))
    def revoke(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        self._to_state(request, chosen, LicenseState.REVOKED)


@admin.register(UsageEntry)
class UsageAdmin(ReadOnlyAdmin):
    list_display = ("tenant", "license", "kind", "tokens", "created_at")
    list_select_related = ("tenant", "license")
    ordering = ("-created_at",)
    fields = ("tenant", "license", "kind", "tokens", "created_at")


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    list_display = ("email", "is_staff", "last_login")
    search_fields = ("email",)
    list_per_page = 25

    def tenants_of(self, row: Any, *, listed: bool) -> set[UUID]:
        return {each.tenant_id for each in belongings_of(row.pk)}

    ordering = ("email",)
    fields = ("email", "is_staff", "is_active", "last_login", "date_joined")


@admin.register(SupportConsent)
class SupportConsentAdmin(ReadOnlyAdmin):
    """Who lets us look at their jobs, until when and why."""

    list_display = ("tenant", "until", "reason", "revoked_at")
    list_select_related = ("tenant",)
    ordering = ("-created_at",)
    fields = ("tenant", "created_at", "until", "reason", "revoked_at")
