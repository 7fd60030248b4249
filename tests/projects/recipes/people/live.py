import livepush


@livepush.can_read("members")
def members(user):
    return user.is_authenticated
