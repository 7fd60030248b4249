from django_eventstream.channelmanager import DefaultChannelManager


class Manager(DefaultChannelManager):
    def can_read_channel(self, user, channel):
        return channel != "room-secret"
