"""/api/v1/members: who belongs to the tenant, and in which role."""

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
from tenants.services.members import change_role, invite, remove_member

ROLES = [role.value for role in Role]


class MemberSerializer(serializers.ModelSerializer[Membership]):
    id = IdField()
    email = serializers.EmailField(source="user.email")
    role = serializers.ChoiceField(ROLES)

    class Meta:
        model = Membership
        fields = ["id", "email", "role", "created_at"]


class MemberWishSerializer(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(ROLES)


class RoleWishSerializer(serializers.Serializer[Any]):
    role = serializers.ChoiceField(ROLES)


GONE = inline_serializer("MemberRemoved", {"removed": serializers.BooleanField()})


class Members(OwnView):
    scopes = {"get": Scope.TENANT_READ, "post": Scope.TENANT_WRITE}

    @page_schema(MemberSerializer, "The members of your organisation")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(MemberSerializer, request, Membership.objects.select_related("user"))

    @extend_schema(
        request=MemberWishSerializer, responses={200: MemberSerializer}, summary="Add a member"
    )
    def post(self, request: Request) -> Any:
        wish = MemberWishSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        member = invite(
            email=wish.validated_data["email"],
            role=Role(wish.validated_data["role"]),
            actor=self.caller.actor,
        )
        return MemberSerializer(member).data


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
        changed = change_role(member_id=member.id, role=role, actor=self.caller.actor)
        return MemberSerializer(changed).data

    @extend_schema(responses={200: GONE}, summary="Remove a member")
    def delete(self, request: Request, member_id: str) -> dict[str, Any]:
        member = selectors.find(Membership.objects.all(), member_id)
        remove_member(member_id=member.id, actor=self.caller.actor)
        return {"removed": True}
