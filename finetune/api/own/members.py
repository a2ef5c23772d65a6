"""/api/v1/members: who belongs to the tenant, and in which role. People join by invitation."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField
from finetune.api.own.pages import page_schema, paged
from tenants.models import Membership
from tenants.roles import Role, Scope
from tenants.services.members import change_role, remove_member

ROLES = [role.value for role in Role]


class MemberSerializer(serializers.ModelSerializer[Membership]):
    id = IdField()
    email = serializers.EmailField(source="user.email")
    role = serializers.ChoiceField(ROLES)

    class Meta:
        model = Membership
        fields = ["id", "email", "role", "created_at"]


class RoleWishSerializer(serializers.Serializer[Any]):
    role = serializers.ChoiceField(ROLES)


GONE = inline_serializer("MemberRemoved", {"removed": serializers.BooleanField()})


class Members(OwnView):
    scopes = {"get": Scope.TENANT_READ}

    @page_schema(MemberSerializer, "The members of your organisation")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(MemberSerializer, request, Membership.objects.select_related("user"))


class OneMember(OwnView):
    scopes = {"patch": Scope.TENANT_WRITE, "delete": Scope.TENANT_WRITE}

    @extend_schema(
        request=RoleWishSerializer, responses=MemberSerializer, summary="Change a member's role"
    )
    def patch(self, request: Request, member_id: str) -> Any:
        member = selectors.find(Membership.objects.all(), member_id)
        wish = RoleWishSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        role = Role(wish.validated_data["role"])
        changed = change_role(member_id=member.id, role=role, by=self.caller.principal)
        return MemberSerializer(changed).data

    @extend_schema(responses={200: GONE}, summary="Remove a member")
    def delete(self, request: Request, member_id: str) -> dict[str, Any]:
        member = selectors.find(Membership.objects.all(), member_id)
        remove_member(member_id=member.id, by=self.caller.principal)
        return {"removed": True}
