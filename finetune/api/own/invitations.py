"""/api/v1/invitations: how people join. An answer tells nothing about the invited address."""

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField
from finetune.api.own.members import ROLES
from finetune.api.own.pages import page_schema, paged
from tenants.models import Invitation
from tenants.roles import Role, Scope
from tenants.services.invitation_mail import mail_link
from tenants.services.invitations import LIFE, invite, revoke_invitation


class InvitationSerializer(serializers.ModelSerializer[Invitation]):
    id = IdField()
    role = serializers.ChoiceField(ROLES)
    invited_by = serializers.CharField(source="inviter")

    class Meta:
        model = Invitation
        fields = [
            "id", "email", "role", "invited_by", "mailed", "expires_at", "accepted_at",
            "revoked_at", "created_at",
        ]  # fmt: skip


class NewInvitationSerializer(InvitationSerializer):
    """`link` is for you to hand over; null when it was mailed, and in the answer to a repeated
    request: it is kept nowhere."""

    link = serializers.CharField(allow_null=True)

    class Meta(InvitationSerializer.Meta):
        fields = [*InvitationSerializer.Meta.fields, "link"]


class InvitationWishSerializer(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(ROLES)
    days = serializers.IntegerField(
        required=False, min_value=1, max_value=30, default=LIFE.days, help_text="How long it lives."
    )


class Invitations(OwnView):
    scopes = {"get": Scope.TENANT_READ, "post": Scope.TENANT_WRITE}

    @page_schema(InvitationSerializer, "Invitations, open and past, without their links")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(InvitationSerializer, request, Invitation.objects.all())

    @extend_schema(
        request=InvitationWishSerializer,
        responses={200: NewInvitationSerializer},
        summary="Invite somebody; they are a member once they accept",
    )
    def post(self, request: Request) -> dict[str, Any]:
        wish = InvitationWishSerializer(data=request.data)
        wish.is_valid(raise_exception=True)

        def link_of(token: str) -> str:
            return request.build_absolute_uri(f"/invitation/{token}")

        made, token = invite(
            by=self.caller.principal,
            email=wish.validated_data["email"],
            role=Role(wish.validated_data["role"]),
            life=timedelta(days=wish.validated_data["days"]),
            deliver=mail_link(link_of),
        )
        link = None if made.mailed else link_of(token)
        return {**InvitationSerializer(made).data, "link": link}

    def recorded(self, body: Any) -> Any:
        return {**body, "link": None}


class OneInvitation(OwnView):
    scopes = {"delete": Scope.TENANT_WRITE}

    @extend_schema(responses={200: InvitationSerializer}, summary="Revoke an invitation")
    def delete(self, request: Request, invitation_id: str) -> Any:
        found = selectors.find(Invitation.objects.all(), invitation_id)
        revoked = revoke_invitation(invitation_id=found.id, by=self.caller.principal)
        return InvitationSerializer(revoked).data
